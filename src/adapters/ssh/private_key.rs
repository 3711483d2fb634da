//! Reading the text of a private key.

use russh::keys::PrivateKey;

/// What a key says of itself that is encrypted in a format other than OpenSSH's: PKCS#8, and the older PEM.
const ENCRYPTED: [&str; 2] = ["-----BEGIN ENCRYPTED PRIVATE KEY-----", "Proc-Type: 4,ENCRYPTED"];

/// Why a text can't be used as a private key.
#[derive(Debug)]
pub(super) enum Undecoded {
    /// It needs a passphrase.
    Locked,
    /// It is no private key, or one of a kind that is not known; with what the decoder says.
    Unusable(String),
}

/// Decodes a private key that needs no passphrase.
pub(super) fn decode(text: &str) -> Result<PrivateKey, Undecoded> {
    // The decoder takes most of these for damaged.
    if ENCRYPTED.iter().any(|sign| text.contains(sign)) {
        return Err(Undecoded::Locked);
    }
    match russh::keys::decode_secret_key(text, None) {
        Ok(key) if key.is_encrypted() => Err(Undecoded::Locked),
        Ok(key) => Ok(key),
        Err(russh::keys::Error::KeyIsEncrypted) => Err(Undecoded::Locked),
        Err(error) => Err(Undecoded::Unusable(error.to_string())),
    }
}
