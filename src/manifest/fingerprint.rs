//! SHA-256 fingerprints of certificates, in the spellings that people paste.

use std::fmt;
use std::str::FromStr;

/// The SHA-256 of a certificate in DER form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Wraps a digest.
    pub fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Returns the digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    /// Writes it as the web interface and `pvenode cert info` do: `AA:BB:..`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            let colon = if i == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

/// Why a text is no SHA-256 fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FingerprintError {
    /// Something else than hexadecimal digits and colons between the bytes.
    #[error("`{0}` is not a hexadecimal digit")]
    NotHex(char),
    /// Colons, but not after every second digit.
    #[error("colons must stand between whole bytes")]
    StrayColon,
    /// Another number of bytes than 32; the number of digits.
    #[error("{0} hexadecimal digits instead of 64")]
    Length(usize),
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    /// Reads `AA:BB:..` or 64 hexadecimal digits, in either case, after an optional `SHA256:` or `sha256=`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let body = match text.get(..7) {
            Some(head) if head.eq_ignore_ascii_case("sha256:") || head.eq_ignore_ascii_case("sha256=") => &text[7..],
            _ => text,
        };
        let mut digits = Vec::with_capacity(64);
        for part in body.split(':') {
            if body.contains(':') && part.chars().count() != 2 {
                return Err(FingerprintError::StrayColon);
            }
            for c in part.chars() {
                let digit = c.to_digit(16).ok_or(FingerprintError::NotHex(c))?;
                // A hexadecimal digit is below 16.
                digits.push(digit as u8);
            }
        }
        if digits.len() != 64 {
            return Err(FingerprintError::Length(digits.len()));
        }
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Ok(Self(digest))
    }
}
