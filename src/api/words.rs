//! Words that messages share.

/// The number and the noun, which gets an s unless there is one: `1 recording`, `2 recordings`.
pub fn counted(number: impl TryInto<u64> + Copy, noun: &str) -> String {
    format!("{} {noun}{}", value(number), agreeing(number, "", "s"))
}

/// The word that agrees with the number: `1 … is`, `2 … are`.
pub fn agreeing<W>(number: impl TryInto<u64> + Copy, of_one: W, of_many: W) -> W {
    if value(number) == 1 { of_one } else { of_many }
}

/// What is negative counts as nothing.
fn value(number: impl TryInto<u64>) -> u64 {
    number.try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_recording_is_and_two_recordings_are() {
        for (number, expected) in [(0, "0 recordings are"), (1, "1 recording is"), (2, "2 recordings are")] {
            let said = format!("{} {}", counted(number, "recording"), agreeing(number, "is", "are"));
            assert_eq!(said, expected);
        }
    }
}
