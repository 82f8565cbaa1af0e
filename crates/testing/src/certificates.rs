//! The certificates of a test's servers: a CA, the servers', one per user, and the key that signs ServiceAccount tokens.

use std::path::Path;

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

/// A CA of a test.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// Makes the CA; its certificate becomes `ca.crt` in this directory.
    pub fn new(directory: &Path) -> Result<Self> {
        let mut params = named("backproof-test-ca", &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let authority = Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?);
        std::fs::write(directory.join("ca.crt"), authority.0.pem())?;
        Ok(authority)
    }

    /// Makes the certificate of a server of these names and addresses: `FILE.crt` and `FILE.key` in this directory.
    pub fn server(&self, directory: &Path, file: &str, names: &[&str]) -> Result<()> {
        let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
        params.distinguished_name = name(file, &[]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.write(directory, file, params)
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

/// The keys that sign and check the tokens of ServiceAccounts.
pub(crate) fn accounts(directory: &Path) -> Result<()> {
    let accounts = KeyPair::generate()?;
    std::fs::write(directory.join("accounts.key"), accounts.serialize_pem())?;
    std::fs::write(directory.join("accounts.pub"), accounts.public_key_pem())?;
    Ok(())
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
