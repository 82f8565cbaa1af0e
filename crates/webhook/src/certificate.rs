//! Our own CA and the certificate it signs: made, read back from the Secret, judged, renewed, served.
//!
//! Invariant: nothing here calls the API server or reads the clock. X.509 v3 and ECDSA P-256 throughout.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use arc_swap::ArcSwapOption;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use x509_parser::{
    certificate::X509Certificate,
    extensions::GeneralName,
    prelude::{ASN1Time, FromDer as _},
};

use crate::Error;

const CA_LIFE: SignedDuration = SignedDuration::from_hours(3650 * 24);
const LEAF_LIFE: SignedDuration = SignedDuration::from_hours(90 * 24);
/// For so long after a rotation the CA before it stays trusted, even if the certificate is renewed once more.
const OVERLAP: SignedDuration = SignedDuration::from_hours(24);
/// Most CAs trusted beside the current one.
const EARLIER: usize = 3;
/// Longest time a replica may serve another certificate than the Secret holds, while one that is trusted is replaced.
const LAGGING: SignedDuration = SignedDuration::from_secs(60);
/// Certificates begin a little in the past, for API servers whose clock is behind ours.
const BACKDATED: SignedDuration = SignedDuration::from_hours(1);

/// What the Secret holds, all of it PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Material {
    /// CAs to trust: the one that signs, and after a rotation also the one before it.
    pub bundle: String,
    /// Key of the CA that signs.
    pub ca_key: String,
    /// The certificate that is served.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// Why stored material cannot be used, or when it must be renewed.
#[derive(Debug, PartialEq, Eq)]
enum State {
    /// The CA cannot sign any more.
    CaUnusable(String),
    /// The CA is fine, the certificate is not.
    LeafUnusable(String),
    /// Both are fine until then.
    FineUntil(Timestamp),
}

impl Material {
    /// A new CA and a certificate for these names. CAs that `before` had stay trusted beside it, so that replicas which
    /// still serve what they signed keep working until they have read the new one.
    pub fn new(names: &[String], now: Timestamp, before: Option<&Self>) -> Result<Self, Error> {
        let ca_key = KeyPair::generate().map_err(failed)?;
        let mut params = params(&[], now, CA_LIFE, &format!("backproof-webhook-ca {}", now.as_second()))?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let mut bundle = params.self_signed(&ca_key).map_err(failed)?.pem();
        let earlier = before.map(|before| blocks(&before.bundle)).unwrap_or_default();
        let valid = earlier.into_iter().filter(|block| Parsed::from_pem(block).is_ok_and(|ca| ca.not_after > now));
        bundle.extend(valid.take(EARLIER));
        Self { bundle, ca_key: ca_key.serialize_pem(), certificate: String::new(), key: String::new() }.with_leaf(names, now)
    }

    /// What to use instead from now on, if anything is due or unusable, and why.
    pub fn renewed(&self, names: &[String], now: Timestamp) -> Result<Option<(Self, String)>, Error> {
        match self.state(names, now) {
            State::FineUntil(due) if now < due => Ok(None),
            State::CaUnusable(why) => Ok(Some((Self::new(names, now, Some(self))?, format!("new CA and certificate: {why}")))),
            State::LeafUnusable(why) => Ok(Some((self.without_earlier_cas(now).with_leaf(names, now)?, format!("new certificate: {why}")))),
            State::FineUntil(_) if self.ca_due().is_ok_and(|due| due <= now) => {
                Ok(Some((Self::new(names, now, Some(self))?, "new CA and certificate: two thirds of the CA's life are over".to_owned())))
            }
            State::FineUntil(_) => Ok(Some((
                self.without_earlier_cas(now).with_leaf(names, now)?,
                "new certificate: two thirds of its life are over".to_owned(),
            ))),
        }
    }

    /// When something is next to be renewed; `now` if something is wrong already.
    pub fn due(&self, names: &[String], now: Timestamp) -> Timestamp {
        match self.state(names, now) {
            State::FineUntil(due) => due,
            State::CaUnusable(_) | State::LeafUnusable(_) => now,
        }
    }

    /// From the data of the Secret; what is missing there is empty here, and so unusable.
    pub fn from_secret(data: &BTreeMap<String, ByteString>) -> Self {
        let text = |key: &str| data.get(key).map(|value| String::from_utf8_lossy(&value.0).into_owned()).unwrap_or_default();
        Self { bundle: text("ca.crt"), ca_key: text("ca.key"), certificate: text("tls.crt"), key: text("tls.key") }
    }

    /// The data of the Secret.
    pub fn to_secret(&self) -> BTreeMap<String, ByteString> {
        let entries = [("ca.crt", &self.bundle), ("ca.key", &self.ca_key), ("tls.crt", &self.certificate), ("tls.key", &self.key)];
        entries.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value.clone().into_bytes()))).collect()
    }

    fn with_leaf(mut self, names: &[String], now: Timestamp) -> Result<Self, Error> {
        let ca_key = KeyPair::from_pem(&self.ca_key).map_err(failed)?;
        let ca = blocks(&self.bundle).into_iter().next().unwrap_or_default();
        let issuer = Issuer::from_ca_cert_pem(&ca, ca_key).map_err(failed)?;
        let common_name = names.first().map(String::as_str).unwrap_or_default();
        let mut params = params(names, now, LEAF_LIFE, common_name)?;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().map_err(failed)?;
        self.certificate = params.signed_by(&key, &issuer).map_err(failed)?.pem();
        self.key = key.serialize_pem();
        Ok(self)
    }

    /// By the next renewal every replica serves what the current CA signed, so those before it need not be trusted any more;
    /// unless that renewal comes right after the rotation.
    fn without_earlier_cas(&self, now: Timestamp) -> Self {
        if Parsed::from_pem(&self.bundle).is_ok_and(|ca| now < ca.not_before + BACKDATED + OVERLAP) {
            return self.clone();
        }
        Self { bundle: self.signer(), ..self.clone() }
    }

    /// The CA that signs.
    pub fn signer(&self) -> String {
        blocks(&self.bundle).into_iter().next().unwrap_or_default()
    }

    fn state(&self, names: &[String], now: Timestamp) -> State {
        let ca_due = match self.check_ca(now) {
            Ok(due) => due,
            Err(why) => return State::CaUnusable(why),
        };
        match self.check_leaf(names, now) {
            Ok(due) => State::FineUntil(due.min(ca_due)),
            Err(why) => State::LeafUnusable(why),
        }
    }

    fn ca_due(&self) -> Result<Timestamp, String> {
        Parsed::from_pem(&self.bundle).map(|ca| ca.due())
    }

    fn check_ca(&self, now: Timestamp) -> Result<Timestamp, String> {
        let ca = Parsed::from_pem(&self.bundle).map_err(|why| format!("the CA in the Secret cannot be read ({why})"))?;
        let key = KeyPair::from_pem(&self.ca_key).map_err(|error| format!("the CA's key in the Secret cannot be read ({error})"))?;
        if ca.public_key != key.public_key_raw() {
            return Err("the CA in the Secret and its key do not belong together".to_owned());
        }
        if ca.not_after <= now {
            return Err("the CA has expired".to_owned());
        }
        Ok(ca.due())
    }

    fn check_leaf(&self, names: &[String], now: Timestamp) -> Result<Timestamp, String> {
        let leaf = Parsed::from_pem(&self.certificate).map_err(|why| format!("the certificate in the Secret cannot be read ({why})"))?;
        let ca = CertificateDer::from_pem_slice(self.bundle.as_bytes()).map_err(|error| error.to_string())?;
        self.certified_key().map_err(|why| format!("the certificate in the Secret and its key cannot be used ({why})"))?;
        if !is_signed_by(&leaf.der, &ca) {
            return Err("the CA in the Secret did not sign the certificate there".to_owned());
        }
        if leaf.not_after <= now {
            return Err("the certificate has expired".to_owned());
        }
        match names.iter().find(|name| !leaf.names.contains(name)) {
            Some(name) => Err(format!("the certificate does not name {name}")),
            None => Ok(leaf.due()),
        }
    }

    fn certified_key(&self) -> Result<CertifiedKey, String> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(self.certificate.as_bytes()).collect();
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(|error| error.to_string())?;
        CertifiedKey::from_der(chain.map_err(|error| error.to_string())?, key, &ring::default_provider()).map_err(|error| error.to_string())
    }
}

fn params(names: &[String], now: Timestamp, life: SignedDuration, common_name: &str) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::new(names).map_err(failed)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    // A common name holds 64 bytes; who checks names reads the alternative names.
    params.distinguished_name.push(DnType::CommonName, common_name.chars().take(64).collect::<String>());
    let at = |time: Timestamp| ASN1Time::from_timestamp(time.as_second()).map(|time| time.to_datetime());
    let out_of_range = |error: &dyn std::fmt::Display| Error::Certificate(error.to_string());
    params.not_before = at(now - BACKDATED).map_err(|error| out_of_range(&error))?;
    params.not_after = at(now + life).map_err(|error| out_of_range(&error))?;
    Ok(params)
}

fn failed(error: rcgen::Error) -> Error {
    Error::Certificate(error.to_string())
}

/// The certificates of a PEM text, each as a text of its own.
fn blocks(pem: &str) -> Vec<String> {
    const END: &str = "-----END CERTIFICATE-----";
    pem.split_inclusive(END).filter(|block| block.contains(END)).map(|block| format!("{}\n", block.trim_start())).collect()
}

fn is_signed_by(leaf: &[u8], ca: &[u8]) -> bool {
    match (X509Certificate::from_der(leaf), X509Certificate::from_der(ca)) {
        (Ok((_, leaf)), Ok((_, ca))) => leaf.verify_signature(Some(ca.public_key())).is_ok(),
        _ => false,
    }
}

/// What is read from the first certificate of a PEM text.
struct Parsed {
    der: Vec<u8>,
    public_key: Vec<u8>,
    names: Vec<String>,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Parsed {
    fn from_pem(pem: &str) -> Result<Self, String> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| error.to_string())?;
        let (_, certificate) = X509Certificate::from_der(&der).map_err(|error| error.to_string())?;
        let at = |time: ASN1Time| Timestamp::from_second(time.timestamp()).map_err(|error| error.to_string());
        let alternative = certificate.subject_alternative_name().ok().flatten();
        let names = alternative.iter().flat_map(|names| names.value.general_names.iter()).filter_map(name_text).collect();
        Ok(Self {
            public_key: certificate.public_key().subject_public_key.data.to_vec(),
            names,
            not_before: at(certificate.validity().not_before)?,
            not_after: at(certificate.validity().not_after)?,
            der: der.to_vec(),
        })
    }

    /// Two thirds of its life, counted from when it was made.
    fn due(&self) -> Timestamp {
        let made = self.not_before + BACKDATED;
        (made + (self.not_after.duration_since(made) * 2) / 3).min(self.not_after)
    }
}

fn name_text(name: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::DNSName(name) = name {
        return Some((*name).to_owned());
    }
    let GeneralName::IPAddress(bytes) = name else { return None };
    let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok().map(|address| address.to_string())
}

/// The certificate of the moment, and the one it should be.
#[derive(Debug, Default)]
pub struct Serving {
    served: ArcSwapOption<Served>,
    stored: ArcSwapOption<Stored>,
}

/// What the Secret holds.
#[derive(Debug)]
struct Stored {
    leaf: Vec<u8>,
    bundle: String,
    since: Timestamp,
}

#[derive(Debug)]
struct Served {
    key: Arc<CertifiedKey>,
    leaf: Vec<u8>,
    not_after: Timestamp,
}

impl Serving {
    /// Notes what the Secret holds.
    pub fn stored(&self, material: &Material, now: Timestamp) {
        let Ok(leaf) = Parsed::from_pem(&material.certificate) else { return self.stored.store(None) };
        let known = self.stored.load().as_ref().is_some_and(|stored| stored.leaf == leaf.der && stored.bundle == material.bundle);
        if !known {
            self.stored.store(Some(Arc::new(Stored { leaf: leaf.der, bundle: material.bundle.clone(), since: now })));
        }
    }

    /// The CAs that the registration shall trust, as PEM.
    pub fn bundle(&self) -> Option<String> {
        self.stored.load().as_ref().map(|stored| stored.bundle.clone())
    }

    /// Serves this from the next handshake on; connections that exist go on.
    pub fn serve(&self, material: &Material) -> Result<(), Error> {
        let leaf = Parsed::from_pem(&material.certificate).map_err(Error::Certificate)?;
        let key = Arc::new(material.certified_key().map_err(Error::Certificate)?);
        self.served.store(Some(Arc::new(Served { key, leaf: leaf.der, not_after: leaf.not_after })));
        Ok(())
    }

    /// Whether something is served that has not expired.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        self.served.load().as_ref().is_some_and(|served| served.not_after > now)
    }

    /// When what is served expires, if something is.
    pub fn expires(&self) -> Option<Timestamp> {
        self.served.load().as_ref().map(|served| served.not_after)
    }

    /// Why a client might not accept what is served, if so.
    pub fn fault(&self, now: Timestamp) -> Option<&'static str> {
        let (served, stored) = (self.served.load(), self.stored.load());
        match (served.as_ref(), stored.as_ref()) {
            (None, _) => Some("there is no certificate yet"),
            (Some(served), _) if served.not_after <= now => Some("the certificate has expired"),
            (Some(served), Some(stored)) if served.leaf == stored.leaf || stored.trusts(&served.leaf, now) => None,
            (Some(_), _) => Some("the certificate served is not the one in the Secret"),
        }
    }
}

impl Stored {
    /// Whether a certificate that is just being replaced is trusted all the same.
    fn trusts(&self, leaf: &[u8], now: Timestamp) -> bool {
        let signed = |ca: &String| CertificateDer::from_pem_slice(ca.as_bytes()).is_ok_and(|ca| is_signed_by(leaf, &ca));
        now < self.since + LAGGING && blocks(&self.bundle).iter().any(signed)
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.served.load().as_ref().map(|served| Arc::clone(&served.key))
    }
}

#[cfg(test)]
#[path = "certificate_tests.rs"]
mod tests;
