//! Databases that targets and backups name: where one answers, who may enter, and which two of them may be one. [`wanted`],
//! [`pinned`] and [`same_server`] are pure; [`read`] asks the API server. No Secret is read here: Jobs mount it by its name.

mod form;
mod read;
mod same;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use backproof_api::{
    BackupVerifier, Cause, VerificationType, names,
    query::{Engine, Level, Plan},
    run::{PinnedDatabase, PinnedObject},
    shared::{FreeForm, Wire},
};
use k8s_openapi::api::core::v1::ServiceSpec;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use url::Url;

pub(crate) use form::{AppBinding, Form, form};
pub(crate) use read::read;
pub(crate) use same::{normal, same_server, served_by};

use crate::failure::Failure;

/// Port of PostgreSQL where nobody names another.
const POSTGRES_PORT: u16 = 5432;
/// What a URL's parts hold as they are.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Parameters of a task that restores into a database; of these, the first ones say which.
const DATABASE: &str = "database";
const SECRET: &str = "secretName";
const PORT: &str = "port";
const ENGINE: &str = "engine";
const PARAMETERS: [&str; 7] = [DATABASE, SECRET, PORT, ENGINE, "waitTimeout", "enableCache", "scratchDir"];

/// A database server, as its object and the API server describe it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Server {
    /// The object, as it was read.
    pub(crate) object: PinnedObject,
    pub(crate) body: Body,
    /// Service that leads to it, as namespace and name; none where it lies elsewhere.
    pub(crate) service: Option<(String, String)>,
    /// Names and addresses by which it is reached, and those behind its Services.
    pub(crate) addresses: Vec<String>,
    /// Pods behind its Services, as namespace and name.
    pub(crate) pods: Vec<(String, String)>,
    /// What its Services select, with the namespace of each.
    pub(crate) selectors: Vec<(String, BTreeMap<String, String>)>,
    /// Hosts that its Services are only another name for.
    pub(crate) external: Vec<String>,
    /// Whether its object is there and cannot be read: then it may be any server.
    pub(crate) unknown: bool,
    /// What it is to the backup, for messages.
    pub(crate) role: String,
}

impl Server {
    /// A hash of where its Services lead, whoever runs behind them at the moment; empty where there are none.
    fn leads_to(&self) -> String {
        if self.selectors.is_empty() && self.external.is_empty() {
            return String::new();
        }
        let selected = self.selectors.iter().map(|(namespace, selector)| {
            let pairs: Vec<String> = selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("{namespace}:{}", pairs.join(","))
        });
        let all: Vec<String> = selected.chain(self.external.iter().cloned()).collect();
        names::hash(&all.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

/// What an object says of a server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Body {
    /// An AppBinding.
    Binding(Box<AppBinding>),
    /// A Service.
    Service(Box<ServiceSpec>),
}

impl Default for Body {
    fn default() -> Self {
        Self::Service(Box::default())
    }
}

impl Body {
    /// Group and kind of the object.
    pub(crate) fn kind(&self) -> (&'static str, &'static str) {
        match self {
            Self::Binding(_) => (form::CATALOG, form::BINDING),
            Self::Service(_) => ("", "Service"),
        }
    }

    /// The authorities that an AppBinding gives, as PEM; empty where there are none.
    pub(crate) fn authorities(&self) -> String {
        match self {
            Self::Binding(binding) => String::from_utf8_lossy(&binding.client_config.ca_bundle.0).into_owned(),
            Self::Service(_) => String::new(),
        }
    }
}

/// What a verifier wants of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    engine: Option<Engine>,
    database: String,
    secret: Option<String>,
    port: Option<u16>,
    /// How many checks its query has; none where it has no query.
    pub(crate) checks: Option<u64>,
}

/// What a verifier wants of the database it restores into.
pub(crate) fn wanted(verifier: &BackupVerifier) -> Result<Wanted, Failure> {
    let invalid = |text: String| Failure::new(Cause::VerifierInvalid, text);
    let info = verifier.spec.restore_option.as_ref().and_then(|option| option.addon_info.as_ref());
    let params = info.and_then(|info| info.tasks.first()).and_then(|task| task.params.clone()).unwrap_or_default();
    let at = "spec.restoreOption.addonInfo.tasks[0].params";
    if let Some(unknown) = params.keys().find(|name| !PARAMETERS.contains(&name.as_str())) {
        return Err(invalid(format!(
            "{at}.{unknown}: is not supported where a database is restored into: take it out (known are {})",
            PARAMETERS.join(", ")
        )));
    }
    let asked = asked(verifier)?;
    let engine = match text(&params, ENGINE) {
        Some(word) => Some(word.parse::<Engine>().map_err(|error| invalid(format!("{at}.{ENGINE}: {error}")))?),
        None => asked.as_ref().map(|plan| plan.engine),
    };
    let port = match text(&params, PORT) {
        Some(word) => Some(word.parse::<u16>().map_err(|_| invalid(format!("{at}.{PORT}: {word:?} is no port: give a number")))?),
        None => None,
    };
    let database = match (text(&params, DATABASE), asked.as_ref().map(databases).unwrap_or_default().as_slice()) {
        (Some(name), []) => name,
        (None, [only]) => only.clone(),
        (Some(name), [only]) if name == *only => name,
        (None, []) => return Err(invalid(format!("{at}.{DATABASE}: is missing: name the database to restore into, which must be empty"))),
        // What was not restored is not there, which says nothing about the backup.
        (Some(name), asked) => {
            let asked = asked.join(", ");
            return Err(invalid(format!(
                "spec.query asks the database {asked}, and {at}.{DATABASE} has {name} restored: ask that one alone"
            )));
        }
        (None, several) => {
            let names = several.join(", ");
            return Err(invalid(format!("spec.query asks several databases ({names}), and a dump is of one: make a verifier for each")));
        }
    };
    let checks = asked.map(|plan| plan.checks.len() as u64);
    Ok(Wanted { engine, database, secret: text(&params, SECRET), port, checks })
}

/// The plan of a verifier's query, if its type is Query.
fn asked(verifier: &BackupVerifier) -> Result<Option<Plan>, Failure> {
    match verifier.spec.kind {
        Some(Wire::Known(VerificationType::Query)) => {}
        Some(Wire::Known(VerificationType::RestoreOnly | VerificationType::Script) | Wire::Other(_)) | None => return Ok(None),
    }
    let query = verifier.spec.query.clone().unwrap_or_default();
    let engines: Vec<Engine> = query.keys().filter_map(|key| key.parse().ok()).collect();
    if let Some(engine) = engines.iter().find(|engine| **engine != Engine::Postgres) {
        return Err(not_built(*engine, &format!("spec.query.{engine}")));
    }
    Plan::parse(&query, Engine::Postgres).map(Some).map_err(|error| Failure::new(Cause::VerifierInvalid, error.to_string()))
}

/// The databases that a plan asks, each once.
fn databases(plan: &Plan) -> Vec<String> {
    let objects = plan.checks.iter().flat_map(|check| &check.path).filter(|object| object.level == Level::Database);
    let mut names: Vec<String> = objects.map(|object| object.name.clone()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn not_built(engine: Engine, at: &str) -> Failure {
    Failure::new(Cause::EngineNotSupported, format!("{at}: {engine} is not built yet: this version restores into postgres, and asks it"))
}

/// A parameter as text; one that is empty counts as left out.
fn text(params: &FreeForm, name: &str) -> Option<String> {
    let value = params.get(name)?;
    Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned)).filter(|text| !text.is_empty() && *value != Value::Null)
}

/// The database that is restored into, or why it cannot be.
pub(crate) fn pinned(server: &Server, wanted: &Wanted) -> Result<PinnedDatabase, Failure> {
    let what = format!("{} {}/{}", server.body.kind().1, server.object.namespace, server.object.name);
    let (engine, host, port, secret, keys) = match &server.body {
        Body::Binding(binding) => of_binding(binding, server, wanted, &what)?,
        Body::Service(service) => of_service(service, server, wanted, &what)?,
    };
    if engine != Engine::Postgres {
        return Err(not_built(engine, &what));
    }
    if wanted.engine.is_some_and(|wanted| wanted != engine) {
        let asked = wanted.engine.map(Engine::key).unwrap_or_default();
        return Err(Failure::new(Cause::VerifierInvalid, format!("{what} is {engine}, and the verifier asks {asked}")));
    }
    let authorities = server.body.authorities();
    Ok(PinnedDatabase {
        engine: engine.key().to_owned(),
        host,
        port,
        name: wanted.database.clone(),
        secret,
        user_key: keys.0,
        password_key: keys.1,
        authorities: if authorities.is_empty() { String::new() } else { names::hash(&[&authorities]) },
        leads_to: server.leads_to(),
    })
}

type Parts = (Engine, String, u16, String, (String, String));

fn of_binding(binding: &AppBinding, server: &Server, wanted: &Wanted, what: &str) -> Result<Parts, Failure> {
    let unfit = |text: String| Failure::new(Cause::TargetNotSupported, format!("{what}: {text}"));
    let engine = match binding.engine() {
        Some(engine) => engine,
        None => wanted.engine.filter(|_| binding.kind.is_empty()).ok_or_else(|| {
            let text = format!("spec.type {:?} is no engine that this version knows: it restores into postgres", binding.kind);
            Failure::new(Cause::EngineNotSupported, format!("{what}: {text}"))
        })?,
    };
    if wanted.secret.is_some() {
        let text = format!("params.{SECRET} is given, and {what} names its Secret by itself: take one of them out");
        return Err(Failure::new(Cause::VerifierInvalid, text));
    }
    let (host, port) = place(binding, server, wanted).map_err(unfit)?;
    if binding.client_config.insecure_skip_tls_verify {
        return Err(unfit(
            "spec.clientConfig.insecureSkipTLSVerify is set, and whom nobody checks proves nothing: give its caBundle".to_owned(),
        ));
    }
    let bare = binding.client_config.ca_bundle.0.is_empty();
    if let Some(mode) = binding.client_config.ssl_mode().filter(|mode| bare && !matches!(mode.as_str(), "disable" | "allow" | "prefer")) {
        return Err(unfit(format!(
            "it asks for sslmode={mode}, and without spec.clientConfig.caBundle nobody's certificate could be checked: give the authorities there"
        )));
    }
    if binding.tls_secret.is_some() && bare {
        return Err(unfit("spec.tlsSecret is set without spec.clientConfig.caBundle: give the authorities there; certificates of clients are not supported".to_owned()));
    }
    let secret = binding.secret.as_ref().filter(|secret| !secret.name.is_empty());
    let secret = secret.ok_or_else(|| unfit("spec.secret names no Secret: name one with username and password".to_owned()))?;
    if !matches!(secret.kind.as_str(), "" | "Secret") {
        return Err(unfit(format!("spec.secret is a {}: name a Secret", secret.kind)));
    }
    let keys = binding.keys().map_err(unfit)?;
    Ok((engine, host, port, secret.name.clone(), keys))
}

/// Where an AppBinding says that its server answers.
fn place(binding: &AppBinding, server: &Server, wanted: &Wanted) -> Result<(String, u16), String> {
    let config = &binding.client_config;
    if let (Some(service), Some((namespace, name))) = (&config.service, &server.service) {
        return Ok((host_of(namespace, name), wanted.port.or(service.port).unwrap_or(POSTGRES_PORT)));
    }
    let given = config.url.as_deref().filter(|url| !url.is_empty()).ok_or("spec.clientConfig names neither service nor url")?;
    // The text is not repeated: it may hold a password, which has no place in a command line either.
    let url = Url::parse(given).map_err(|error| format!("spec.clientConfig.url is none: {error}"))?;
    if url.password().is_some() {
        return Err("spec.clientConfig.url holds a password, which everybody could read: put it into the Secret".to_owned());
    }
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or("spec.clientConfig.url names no host")?;
    Ok((host.trim_matches(['[', ']']).to_ascii_lowercase(), wanted.port.or(url.port()).unwrap_or(POSTGRES_PORT)))
}

fn of_service(service: &ServiceSpec, server: &Server, wanted: &Wanted, what: &str) -> Result<Parts, Failure> {
    let invalid = |text: String| Failure::new(Cause::VerifierInvalid, text);
    let engine =
        wanted.engine.ok_or_else(|| invalid(format!("params.{ENGINE} is missing, and {what} does not tell: set it to postgres")))?;
    let secret = wanted.secret.clone().ok_or_else(|| {
        let namespace = &server.object.namespace;
        invalid(format!("params.{SECRET} is missing: name the Secret of namespace {namespace} that holds username and password for {what}"))
    })?;
    let ports: Vec<u16> = service.ports.iter().flatten().filter_map(|port| u16::try_from(port.port).ok()).collect();
    let port = match (wanted.port, ports.as_slice()) {
        (Some(port), _) => port,
        (None, [only]) => *only,
        (None, several) if several.contains(&POSTGRES_PORT) => POSTGRES_PORT,
        (None, _) => return Err(invalid(format!("params.{PORT} is missing, and {what} does not tell which of its ports is meant"))),
    };
    let host = host_of(&server.object.namespace, &server.object.name);
    Ok((engine, host, port, secret, ("username".to_owned(), "password".to_owned())))
}

fn host_of(namespace: &str, service: &str) -> String {
    format!("{service}.{namespace}.svc")
}

/// The database as the executor is told of it: without a user, who stands in the Secret.
pub(crate) fn connection(database: &PinnedDatabase) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, PLAIN).to_string();
    let host = if database.host.contains(':') { format!("[{}]", database.host) } else { encoded(&database.host) };
    format!("postgres://{host}:{}/{}", database.port, encoded(&database.name))
}
