//! What the templates of Addon and Function may name: upstream's variables, ours, and what the task is given. Pure.

use backproof_api::{
    Cause, Task,
    run::PinnedComponent,
    shared::{ContainerRuntimeSettings, TaskReference},
    template::Variables,
};
use kube::ResourceExt as _;
use serde_json::Value;

use super::Owner;
use crate::{database::connection, failure::Failure};

/// Where the executor's container mounts the target.
pub(crate) const TARGET_DIR: &str = "/backproof/target";

/// What a component's Job is about.
#[derive(Clone, Copy)]
pub(crate) struct About<'a> {
    pub(crate) owner: &'a Owner,
    pub(crate) component: &'a PinnedComponent,
    /// The backed-up paths, as the Snapshot tells them.
    pub(crate) host_paths: &'a [String],
    pub(crate) repository_url: &'a str,
    pub(crate) allow_empty: bool,
    /// Our own image; upstream's variables give its parts.
    pub(crate) image: &'a str,
}

/// Every variable: defaults of declared parameters, then what the task is given, then the facts, which nobody may override.
pub(crate) fn variables(task: &Task, given: &TaskReference, about: About<'_>) -> Result<Variables, Failure> {
    let mut all = Variables::new();
    all.insert("enableCache".into(), "true".into());
    all.insert("paths".into(), about.host_paths.join(","));
    for parameter in task.parameters.iter().filter(|parameter| !parameter.default.is_empty()) {
        all.insert(parameter.name.clone(), parameter.default.clone());
    }
    for (name, value) in given.params.iter().flatten() {
        all.insert(name.clone(), text_of(name, value)?);
    }
    for variable in &given.variables {
        if variable.value_from.is_some() {
            let text = format!(
                "variable {:?} of task {:?} has valueFrom, and templates are filled in before a pod exists; give a value",
                variable.name, given.name
            );
            return Err(Failure::new(Cause::VerifierInvalid, text));
        }
        all.insert(variable.name.clone(), variable.value.clone().unwrap_or_default());
    }
    let missing = task.parameters.iter().filter(|parameter| parameter.required && !all.contains_key(&parameter.name));
    let missing: Vec<String> = missing.map(|parameter| format!("{} ({})", parameter.name, parameter.usage)).collect();
    if !missing.is_empty() {
        let text = format!(
            "task {:?} requires parameters that nobody gives: {}; give them under the task's params",
            task.name,
            missing.join(", ")
        );
        return Err(Failure::new(Cause::VerifierInvalid, text));
    }
    all.extend(facts(about));
    Ok(all)
}

fn facts(about: About<'_>) -> Variables {
    let session = &about.owner.session;
    let run = &about.owner.run;
    let invoker = session.spec.invoker.clone().unwrap_or_default();
    let (registry, repository, tag) = image_parts(about.image);
    // A Function that restores files fails by name where the target is a database, and the other way round.
    let target = match &run.verifier.target.database {
        None => vec![("targetPath", TARGET_DIR.to_owned())],
        Some(database) => vec![("connection", connection(database)), ("engine", database.engine.clone())],
    };
    [
        ("namespace", session.namespace().unwrap_or_default()),
        ("restoreSession", session.name_any()),
        ("backupVerificationSession", session.name_any()),
        ("snapshot", run.snapshot.name.clone()),
        ("invokerKind", invoker.kind),
        ("invokerName", invoker.name),
        ("imageRegistry", registry),
        ("imageRepo", repository),
        ("imageTag", tag),
        ("COMPONENT_NAME", about.component.name.clone()),
        ("PVC_NAME", run.verifier.target.object.name.clone()),
        ("repositoryURL", about.repository_url.to_owned()),
        ("resticSnapshot", about.component.restic_ids.join(",")),
        ("allowEmpty", about.allow_empty.to_string()),
    ]
    .into_iter()
    .chain(target)
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

fn text_of(name: &str, value: &Value) -> Result<String, Failure> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::Null => Ok(String::new()),
        Value::Array(_) | Value::Object(_) => Err(Failure::new(
            Cause::VerifierInvalid,
            format!("parameter {name:?} is a list or an object; give a text, a number or true and false"),
        )),
    }
}

/// Registry, repository and tag of an image, as upstream's variables name them.
fn image_parts(image: &str) -> (String, String, String) {
    let (registry, rest) = match image.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest),
        _ => ("", image),
    };
    let rest = rest.split('@').next().unwrap_or(rest);
    let (repository, tag) = rest.rsplit_once(':').unwrap_or((rest, ""));
    (registry.to_owned(), repository.to_owned(), tag.to_owned())
}

/// The variables as they may stand in commands, arguments and environment, where kubelet expands `$(NAME)` once more: a
/// value that holds such text by chance keeps it.
pub(crate) fn for_container(variables: &Variables) -> Variables {
    // Two signs stand for one, wherever they are.
    variables.iter().map(|(name, value)| (name.clone(), value.replace('$', "$$"))).collect()
}

/// The environment that upstream gives for `nice` and `ionice`.
pub(crate) fn niceness(settings: &ContainerRuntimeSettings) -> Vec<(&'static str, i32)> {
    let nice = settings.nice.as_ref().and_then(|nice| nice.adjustment).map(|value| ("NICE_ADJUSTMENT", value));
    let class = settings.ionice.as_ref().and_then(|ionice| ionice.class).map(|value| ("IONICE_CLASS", value));
    let data = settings.ionice.as_ref().and_then(|ionice| ionice.class_data).map(|value| ("IONICE_CLASS_DATA", value));
    [nice, class, data].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_an_image() {
        for (image, expected) in [
            ("localhost/backproof/backproof:dev", ("localhost", "backproof/backproof", "dev")),
            ("registry.example:5000/a/b:1@sha256:00", ("registry.example:5000", "a/b", "1")),
            ("busybox", ("", "busybox", "")),
            ("library/busybox:1", ("", "library/busybox", "1")),
        ] {
            let (registry, repository, tag) = image_parts(image);
            assert_eq!((registry.as_str(), repository.as_str(), tag.as_str()), expected, "{image}");
        }
    }

    #[test]
    fn kubelet_does_not_expand_what_came_in_as_a_value() {
        let all: Variables = [("a".to_owned(), "$(SECRET) $x ${y} $$".to_owned())].into();
        assert_eq!(for_container(&all)["a"], "$$(SECRET) $$x $${y} $$$$");
    }
}
