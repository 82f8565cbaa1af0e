//! The certificates of a test's API server: a CA, the server's, one per user, and the key that signs ServiceAccount tokens.

use std::path::Path;

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

/// The CA of a test's API server.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// Makes the CA and all files the API server needs, in this directory.
    pub(crate) fn new(directory: &Path) -> Result<Self> {
        let mut params = named("backproof-test-ca", &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let authority = Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?);
        std::fs::write(directory.join("ca.crt"), authority.0.pem())?;
        let accounts = KeyPair::generate()?;
        std::fs::write(directory.join("accounts.key"), accounts.serialize_pem())?;
        std::fs::write(directory.join("accounts.pub"), accounts.public_key_pem())?;
        let mut server = CertificateParams::new(["127.0.0.1", "localhost", "kubernetes.default.svc"].map(str::to_owned))?;
        server.distinguished_name = name("kube-apiserver", &[]);
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        authority.write(directory, "server", server)?;
        Ok(authority)
    }

    /// Makes a certificate by which a user proves name and groups.
    pub(crate) fn client(&self, directory: &Path, file: &str, user: &str, groups: &[&str]) -> Result<()> {
        let mut params = named(user, groups);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.write(directory, file, params)
    }

    fn write(&self, directory: &Path, file: &str, mut params: CertificateParams) -> Result<()> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.0)?;
        std::fs::write(directory.join(format!("{file}.crt")), certificate.pem())?;
        std::fs::write(directory.join(format!("{file}.key")), key.serialize_pem())?;
        Ok(())
    }
}

fn named(user: &str, groups: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(user, groups);
    params
}

fn name(user: &str, groups: &[&str]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, user);
    groups.iter().for_each(|group| name.push(DnType::OrganizationName, *group));
    name
}
