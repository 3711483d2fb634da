//! Certificates: each realm has a CA of its own, which issues its nodes' certificates, as `pvecm` does.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};

use crate::world::{CertData, World};

/// Begin of validity: 2024-01-01, in seconds since the Unix epoch.
const NOT_BEFORE: i64 = 1_704_067_200;
/// End of validity: 2044-01-01, in seconds since the Unix epoch.
const NOT_AFTER: i64 = 2_335_219_200;

/// What a TLS server of each node needs.
pub type ServerConfigs = BTreeMap<String, Arc<ServerConfig>>;

/// Makes a CA for each realm and a certificate for each node, and enters them into the world. Returns the nodes' TLS configurations.
///
/// # Errors
/// A name that no certificate can carry.
pub fn issue(world: &mut World) -> io::Result<ServerConfigs> {
    let mut configs = BTreeMap::new();
    let names: Vec<String> = world.realms.keys().cloned().collect();
    for name in names {
        let Some(realm) = world.realms.get_mut(&name) else { continue };
        let (authority, ca) = authority(&realm.ca.subject)?;
        enter(&mut realm.ca, &ca);
        for node in realm.nodes.clone() {
            let Some(node) = world.nodes.get_mut(&node) else { continue };
            let (cert, key) = leaf(&authority, &node.name, &node.ip)?;
            enter(&mut node.cert, &cert);
            let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(io::Error::other)?;
            configs.insert(node.name.clone(), Arc::new(config(cert.der().clone(), key)?));
        }
    }
    Ok(configs)
}

fn enter(data: &mut CertData, cert: &rcgen::Certificate) {
    data.fingerprint = fingerprint(cert.der());
    data.pem = cert.pem();
    data.key_type = "id-ecPublicKey".to_owned();
    data.key_bits = 256;
    (data.not_before, data.not_after) = (NOT_BEFORE, NOT_AFTER);
}

/// Returns the SHA-256 fingerprint of a certificate, upper case with colons.
pub fn fingerprint(der: &CertificateDer<'_>) -> String {
    let bytes: Vec<String> = Sha256::digest(der).iter().map(|b| format!("{b:02X}")).collect();
    bytes.join(":")
}

fn dated(names: Vec<String>) -> io::Result<CertificateParams> {
    let mut params = CertificateParams::new(names).map_err(io::Error::other)?;
    params.not_before = rcgen::date_time_ymd(2024, 1, 1);
    params.not_after = rcgen::date_time_ymd(2044, 1, 1);
    Ok(params)
}

fn authority(subject: &str) -> io::Result<(Issuer<'static, KeyPair>, rcgen::Certificate)> {
    let mut params = dated(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    for part in subject.split('/') {
        match part.split_once('=') {
            Some(("CN", value)) => params.distinguished_name.push(DnType::CommonName, value),
            Some(("OU", value)) => params.distinguished_name.push(DnType::OrganizationalUnitName, value),
            Some(("O", value)) => params.distinguished_name.push(DnType::OrganizationName, value),
            _ => {}
        }
    }
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let cert = params.self_signed(&key).map_err(io::Error::other)?;
    Ok((Issuer::new(params, key), cert))
}

fn leaf(authority: &Issuer<'static, KeyPair>, node: &str, ip: &str) -> io::Result<(rcgen::Certificate, KeyPair)> {
    let names = ["127.0.0.1", "::1", "localhost", ip, node];
    let mut params = dated(names.iter().map(|n| (*n).to_owned()).collect())?;
    params.distinguished_name.push(DnType::OrganizationalUnitName, "PVE Cluster Node");
    params.distinguished_name.push(DnType::OrganizationName, "Proxmox Virtual Environment");
    params.distinguished_name.push(DnType::CommonName, node);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let cert = params.signed_by(&key, authority).map_err(io::Error::other)?;
    Ok((cert, key))
}

fn config(cert: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> io::Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|c| c.with_no_client_auth().with_single_cert(vec![cert], key))
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
