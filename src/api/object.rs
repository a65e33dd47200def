//! The metadata that S3 reports of an object. Its CRC-64/NVME proves that a recording has arrived.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// A CRC-64/NVME over a whole object. Shown as S3 writes it (Base64 of the big-endian bytes); `{:016x}` gives hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Crc64Nvme(pub u64);

/// A part of an object that S3 holds until all parts are made one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// From 1 to 10,000.
    pub number: i32,
    pub etag: String,
    pub crc64nvme: Crc64Nvme,
}

/// What S3 holds under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Of the full object; absent when it was uploaded with another checksum, or with checksums of parts.
    pub crc64nvme: Option<Crc64Nvme>,
    pub size: u64,
}

impl Crc64Nvme {
    /// The checksum of bytes in memory.
    pub fn of(bytes: &[u8]) -> Self {
        Crc64Nvme(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, bytes))
    }

    /// The checksum of bytes that have this one, followed by `length` bytes that have `next`.
    pub fn followed_by(self, next: Self, length: u64) -> Self {
        Crc64Nvme(crc_fast::checksum_combine(crc_fast::CrcAlgorithm::Crc64Nvme, self.0, next.0, length))
    }
}

impl fmt::Display for Crc64Nvme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0.to_be_bytes()))
    }
}

impl fmt::Debug for Crc64Nvme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crc64Nvme({self})")
    }
}

impl fmt::LowerHex for Crc64Nvme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

impl From<Crc64Nvme> for String {
    fn from(checksum: Crc64Nvme) -> String {
        checksum.to_string()
    }
}

/// The text is not the Base64 of eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a CRC64NVME as S3 writes it")]
pub struct InvalidChecksum;

impl FromStr for Crc64Nvme {
    type Err = InvalidChecksum;

    fn from_str(text: &str) -> Result<Self, InvalidChecksum> {
        let bytes = STANDARD.decode(text).map_err(|_| InvalidChecksum)?;
        let bytes = bytes.try_into().map_err(|_| InvalidChecksum)?;
        Ok(Crc64Nvme(u64::from_be_bytes(bytes)))
    }
}

impl TryFrom<String> for Crc64Nvme {
    type Error = InvalidChecksum;

    fn try_from(text: String) -> Result<Self, InvalidChecksum> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_a_whole_is_made_of_those_of_its_parts() {
        let parts: [&[u8]; 4] = [b"12345", b"6", b"", b"789"];
        let whole = parts.iter().fold(Crc64Nvme::of(b""), |before, part| {
            before.followed_by(Crc64Nvme::of(part), part.len() as u64)
        });
        assert_eq!(whole, Crc64Nvme::of(b"123456789"));
    }

    #[test]
    fn the_checksum_of_the_catalogues_check_string_is_the_catalogues() {
        // https://reveng.sourceforge.io/crc-catalogue/all.htm#crc.cat.crc-64-nvme
        assert_eq!(Crc64Nvme::of(b"123456789"), Crc64Nvme(0xae8b_1486_0a79_9888));
    }

    #[test]
    fn a_checksum_reads_back_from_the_form_that_s3_uses() {
        let checksum = Crc64Nvme(0xae8b_1486_0a79_9888);
        assert_eq!(checksum.to_string(), "rosUhgp5mIg=");
        assert_eq!("rosUhgp5mIg=".parse(), Ok(checksum));
        assert_eq!(format!("{checksum:016x}"), "ae8b14860a799888");
        for wrong in ["", "rosUhgp5mIg", "rosUhgp5mIg=-3", "AAAA", "not base64!!"] {
            assert_eq!(wrong.parse::<Crc64Nvme>(), Err(InvalidChecksum), "{wrong:?}");
        }
    }
}
