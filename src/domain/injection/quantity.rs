//! Amounts of a resource, as Kubernetes writes them.

/// An amount in billionths, the smallest unit that Kubernetes has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Amount(u128);

const BILLION: u128 = 1_000_000_000;

impl Amount {
    /// `None` where Kubernetes would not take it, nor any amount below zero.
    pub fn parse(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = format!("{whole}{fraction}");
        if digits.is_empty() || digits.len() > 20 || fraction.contains('.') {
            return None;
        }
        let (times, parts) = factor(unit)?;
        let parts = parts.checked_mul(10_u128.pow(fraction.len() as u32))?;
        let amount = digits.parse::<u128>().ok()?.checked_mul(times)?;
        Some(Amount(amount.div_ceil(parts)))
    }

    /// As a number of bytes, at most what Kubernetes counts to.
    pub fn whole(self) -> u64 {
        let bytes = i64::try_from(self.0 / BILLION).unwrap_or(i64::MAX);
        bytes.unsigned_abs()
    }

    pub fn saturating_add(self, other: Self) -> Self {
        Amount(self.0.saturating_add(other.0))
    }
}

/// What a number of these units is in billionths: times the first, divided by the second.
fn factor(unit: &str) -> Option<(u128, u128)> {
    let binary = |power: u32| Some((BILLION << (10 * power), 1));
    match unit {
        "n" => Some((1, 1)),
        "u" => Some((1_000, 1)),
        "m" => Some((1_000_000, 1)),
        "" => Some((BILLION, 1)),
        "k" => Some((BILLION * 1_000, 1)),
        "M" => Some((BILLION * 1_000_000, 1)),
        "G" => Some((BILLION * BILLION, 1)),
        "T" => Some((BILLION * BILLION * 1_000, 1)),
        "P" => Some((BILLION * BILLION * 1_000_000, 1)),
        "E" => Some((BILLION * BILLION * BILLION, 1)),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent: i32 = unit.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10_u128.checked_pow(exponent.unsigned_abs())?;
            Some(if exponent < 0 { (BILLION, power) } else { (BILLION.checked_mul(power)?, 1) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_compared_whatever_their_units() {
        for (one, other) in [
            ("0.1", "100m"),
            ("1", "1000m"),
            ("1Gi", "1024Mi"),
            ("1.5Gi", "1536Mi"),
            ("2e3", "2k"),
            ("2E3", "2000"),
            ("5e-1", "500m"),
            ("1M", "1000k"),
            (".5", "500m"),
            ("3.", "3"),
        ] {
            assert_eq!(Amount::parse(one), Amount::parse(other), "{one} {other}");
            assert!(Amount::parse(one).is_some(), "{one}");
        }
        for (less, more) in [("100m", "1"), ("64M", "64Mi"), ("999Mi", "1Gi"), ("1n", "1u"), ("1P", "1Ei")] {
            assert!(Amount::parse(less) < Amount::parse(more), "{less} {more}");
        }
        assert_eq!(Amount::parse("1.5Ki").unwrap().whole(), 1536);
        assert_eq!(Amount::parse("99Ei").unwrap().whole(), i64::MAX as u64);
    }

    #[test]
    fn what_is_no_amount_is_none() {
        for text in ["", ".", "m", "-1", "+1", "1 Gi", "1Zi", "1mi", "0x10", "1e", "1e99", "1.2.3", "1,5"] {
            assert_eq!(Amount::parse(text), None, "{text}");
        }
        assert_eq!(Amount::parse(&"9".repeat(21)), None);
    }
}
