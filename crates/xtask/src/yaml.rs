//! YAML as Helm and kubectl read it.

use anyhow::Context as _;
use serde_json::Value;

/// One document, ending with a line break.
pub(crate) fn document(value: &Value) -> anyhow::Result<String> {
    let text = serde_saphyr::to_string(value).context("cannot write YAML")?;
    Ok(format!("{}\n", text.trim_end()))
}
