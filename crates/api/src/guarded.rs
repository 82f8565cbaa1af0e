//! An object that may not parse, read without what nobody here asks for.
//!
//! One malformed object must not stop a list or a watch. And of a session that has run, more than half of what the API server sends is
//! `metadata.managedFields`: a tree of maps that is cut out of the text before anything is made of it.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use serde_json::value::RawValue;

/// An object as its kind has it, or what can be said of one that its kind does not describe. Read from JSON only.
#[derive(Clone, Debug)]
pub struct Guarded<K>(pub Result<K, Unreadable>);

/// An object that cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{error}")]
pub struct Unreadable {
    /// Why.
    pub error: String,
    /// Its metadata, which can be.
    pub metadata: ObjectMeta,
}

/// What every object has.
#[derive(Deserialize)]
struct Partial {
    metadata: ObjectMeta,
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let whole = Box::<RawValue>::deserialize(deserializer)?;
        let text = without_managed_fields(whole.get());
        let read = serde_json::from_str::<K>(&text).map(Ok).or_else(|error| {
            let partial: Partial = serde_json::from_str(&text)?;
            Ok(Err(Unreadable { error: error.to_string(), metadata: partial.metadata }))
        });
        read.map(Self).map_err(|error: serde_json::Error| serde::de::Error::custom(error))
    }
}

impl<K: Serialize> Serialize for Guarded<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Ok(object) => object.serialize(serializer),
            Err(unreadable) => Err(serde::ser::Error::custom(unreadable)),
        }
    }
}

impl<K: Resource> Resource for Guarded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dt: &K::DynamicType) -> Cow<'_, str> {
        K::kind(dt)
    }

    fn group(dt: &K::DynamicType) -> Cow<'_, str> {
        K::group(dt)
    }

    fn version(dt: &K::DynamicType) -> Cow<'_, str> {
        K::version(dt)
    }

    fn plural(dt: &K::DynamicType) -> Cow<'_, str> {
        K::plural(dt)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|unreadable| &unreadable.metadata, K::meta)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.as_mut().map_or_else(|unreadable| &mut unreadable.metadata, K::meta_mut)
    }
}

/// The object without `metadata.managedFields`; as it is where it has none, or is no object.
fn without_managed_fields(object: &str) -> Cow<'_, str> {
    #[derive(Deserialize)]
    struct Object<'a> {
        #[serde(borrow)]
        metadata: &'a RawValue,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Metadata<'a> {
        #[serde(borrow)]
        managed_fields: &'a RawValue,
    }
    let metadata = serde_json::from_str::<Object<'_>>(object).map(|found| found.metadata.get());
    let Ok(found) = metadata.and_then(serde_json::from_str::<Metadata<'_>>) else { return Cow::Borrowed(object) };
    let fields = found.managed_fields.get();
    let start = fields.as_ptr().addr() - object.as_ptr().addr();
    match (object.get(..start), object.get(start + fields.len()..)) {
        (Some(before), Some(after)) => Cow::Owned([before, "null", after].concat()),
        _ => Cow::Borrowed(object),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{ConfigMap, Pod};
    use kube::core::WatchEvent;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn managed_fields_are_cut_out_and_nothing_else() {
        let fields = json!([{"manager": "kubectl", "fieldsV1": {"f:data": {"f:a": {}}}}]);
        for (object, cut) in [
            (json!({"metadata": {"name": "a", "managedFields": fields, "uid": "u"}, "data": {"managedFields": fields}}), true),
            (json!({"data": {"x": "\"metadata\":{\"managedFields\":[1]}"}, "metadata": {"managedFields": fields}}), true),
            (json!({"data": {"metadata": {"managedFields": fields}}, "metadata": {"name": "a"}}), false),
            (json!({"metadata": {"annotations": {"x": "\"managedFields\":[]"}}}), false),
            (json!({"spec": {}}), false),
            (json!([1]), false),
        ] {
            let text = object.to_string();
            let mut expected = object.clone();
            if cut {
                expected["metadata"]["managedFields"] = Value::Null;
            }
            let read: Value = serde_json::from_str(&without_managed_fields(&text)).unwrap();
            assert_eq!(read, expected, "{text}");
        }
        assert_eq!(without_managed_fields("no object"), "no object");
        let twice = r#"{"metadata": {"managedFields": [1], "managedFields": [2]}}"#;
        assert_eq!(without_managed_fields(twice), twice);
    }

    #[test]
    fn one_malformed_object_does_not_hide_the_others() {
        let metadata = json!({"name": "a", "namespace": "demo", "managedFields": [{"fieldsV1": {"f:spec": {}}}]});
        let good = json!({"metadata": metadata, "spec": {"containers": []}});
        let bad = json!({"metadata": metadata, "spec": {"containers": "none"}});
        let read: Vec<Guarded<Pod>> = serde_json::from_str(&json!([good, bad]).to_string()).unwrap();
        assert!(read[0].0.as_ref().unwrap().metadata.managed_fields.is_none());
        let unreadable = read[1].0.as_ref().unwrap_err();
        assert!(unreadable.error.contains("none") && unreadable.metadata.name.as_deref() == Some("a"), "{unreadable:?}");
        assert_eq!(read[1].meta().namespace.as_deref(), Some("demo"));

        let event = json!({"type": "MODIFIED", "object": bad}).to_string();
        let WatchEvent::Modified(heard) = serde_json::from_str::<WatchEvent<Guarded<Pod>>>(&event).unwrap() else { panic!("{event}") };
        assert!(heard.0.is_err());
        let value = json!({"metadata": {"name": "c"}, "data": {"k": "v"}});
        let from_value: Guarded<ConfigMap> = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(serde_json::to_value(&from_value).unwrap()["data"], value["data"]);
        assert!(serde_json::from_value::<Guarded<Pod>>(json!({"spec": 1})).is_err(), "without metadata it is no object");
    }
}
