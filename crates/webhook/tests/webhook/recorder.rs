//! A webhook that lets everything in, looks at nothing, and notes what it was asked.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use axum::{Json, Router};
use backproof_testing::free_port;
use backproof_webhook::{
    certificate::{Material, Serving},
    server::{self, Limits},
};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use serde_json::{Value, json};

/// Where it is, and what it was asked so far.
pub(crate) struct Recorder {
    port: u16,
    bundle: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Recorder {
    /// Starts one; it ends with the process.
    pub(crate) fn start() -> Result<Self> {
        let material = Material::new(&["127.0.0.1".to_owned()], Timestamp::now(), None)?;
        let serving = Arc::new(Serving::default());
        serving.serve(&material)?;
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let notes = Arc::clone(&seen);
        let answer = move |Json(review): Json<Value>| {
            let request = &review["request"];
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let note = format!("{} {}/{}", text(&request["operation"]), text(&request["kind"]["kind"]), text(&request["name"]));
            notes.lock().unwrap_or_else(PoisonError::into_inner).push(note);
            let response = json!({"uid": request["uid"], "allowed": true});
            let answer = Json(json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}));
            std::future::ready(answer)
        };
        let port = free_port()?;
        // Workers of its own, as another process has: those of the test are awake whenever it asks.
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let listening = server::bind(([127, 0, 0, 1], port).into(), server::tls(serving)?, Limits::default());
        std::thread::spawn(move || runtime.block_on(listening.serve(Router::new().fallback(answer).into_make_service())));
        Ok(Self { port, bundle: material.bundle, seen })
    }

    /// How a webhook is told to ask here.
    pub(crate) fn client_config(&self) -> Value {
        json!({"url": format!("https://127.0.0.1:{}/", self.port), "caBundle": ByteString(self.bundle.clone().into_bytes())})
    }

    /// What it was asked since the last time this was called.
    pub(crate) fn taken(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
