//! The objects, and the rules of the API server about them.

use std::{
    collections::{BTreeMap, BTreeSet, hash_map::DefaultHasher},
    hash::{Hash as _, Hasher as _},
    sync::Arc,
};

use serde_json::{Value, json};

use super::{
    object::{Key, Object},
    request::Part,
};

/// Finalizer of an object that waits for what it owns.
const FOREGROUND: &str = "foregroundDeletion";

/// Who changed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum By {
    /// A client of the API: the program under test.
    Client,
    /// The cluster's own controllers and kubelet.
    Cluster,
    /// Somebody else.
    Stranger,
}

/// One change of one object.
#[derive(Clone, Debug)]
pub struct Change {
    /// Whose.
    pub by: By,
    /// Of what.
    pub key: Arc<Key>,
    /// How it was; `None` for a new one.
    pub before: Option<Arc<Object>>,
    /// How it is; `None` for one that is gone.
    pub after: Option<Arc<Object>>,
}

/// What becomes of what an object owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Propagation {
    /// It is collected afterwards.
    Background,
    /// It goes first.
    Foreground,
    /// It stays.
    Orphan,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// HTTP status.
    pub code: u16,
    /// Reason of the Status object.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
}

impl Refused {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into() }
    }

    fn not_found(key: &Key) -> Self {
        Self::new(404, "NotFound", format!("{key} not found"))
    }

    fn conflict(key: &Key, what: &str) -> Self {
        Self::new(409, "Conflict", format!("{key}: {what}"))
    }
}

/// A world of objects. Copying it copies references only.
#[derive(Clone, Debug, Default)]
pub struct Store {
    objects: BTreeMap<Arc<Key>, Arc<Object>>,
    births: BTreeMap<Arc<Key>, u32>,
    version: u64,
    /// The API server's clock, in seconds since 1970.
    pub now: i64,
    /// What was changed since somebody last took this.
    pub log: Vec<Change>,
    /// What was asked for and is not known here.
    pub strange: Vec<String>,
}

impl Store {
    /// One object.
    pub fn get(&self, key: &Key) -> Option<&Arc<Object>> {
        self.objects.get(key)
    }

    /// Every object of a kind, in order of namespace and name.
    pub fn all<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a Arc<Key>, &'a Arc<Object>)> + 'a {
        self.objects.iter().filter(move |(key, _)| key.kind.name == kind)
    }

    /// Every object.
    pub fn everything(&self) -> impl Iterator<Item = (&Arc<Key>, &Arc<Object>)> {
        self.objects.iter()
    }

    /// A hash of every object, resourceVersions left out.
    pub fn digest(&self) -> u64 {
        self.objects.iter().fold(0, |sum: u64, (key, object)| sum.wrapping_add(entry_digest(key, object)))
    }

    /// Makes an object from the whole of it, and gives it UID, version and time of creation.
    pub fn create(&mut self, by: By, mut value: Value) -> Result<Arc<Object>, Refused> {
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (kind, name, namespace) = (text("/kind"), text("/metadata/name"), text("/metadata/namespace"));
        if name.is_empty() {
            return Err(Refused::new(422, "Invalid", format!("a {kind} without a name")));
        }
        let key = Arc::new(Key::new(&kind, &namespace, &name));
        if self.objects.contains_key(&key) {
            return Err(Refused::new(409, "AlreadyExists", format!("{key} already exists")));
        }
        // Whoever makes an object cannot write its status with it; only the tests' own worlds come whole.
        if by == By::Client && key.kind.status {
            remove(&mut value, "status");
        }
        let birth = self.births.entry(key.clone()).or_default();
        *birth += 1;
        let uid = uid_of(&key, *birth);
        let metadata = &mut value["metadata"];
        metadata["uid"] = uid.into();
        metadata["creationTimestamp"] = self.time().into();
        if has_generation(&key) {
            metadata["generation"] = 1.into();
        }
        Ok(self.put(by, key, None, value))
    }

    /// Changes an object. What `change` makes of its metadata's identity is undone; `part` says which side is written.
    pub fn update(&mut self, by: By, key: &Key, change: impl FnOnce(&mut Value)) -> Result<Arc<Object>, Refused> {
        self.write(by, key, Part::Whole, true, change)
    }

    pub(super) fn write(
        &mut self,
        by: By,
        key: &Key,
        part: Part,
        both: bool,
        change: impl FnOnce(&mut Value),
    ) -> Result<Arc<Object>, Refused> {
        let (key, old) = self.objects.get_key_value(key).ok_or_else(|| Refused::not_found(key))?;
        let (key, old) = (key.clone(), old.clone());
        let mut new = old.value().clone();
        change(&mut new);
        let asked = |field: &str| new.pointer(&format!("/metadata/{field}")).and_then(Value::as_str);
        if asked("resourceVersion").is_some_and(|version| !version.is_empty() && version != old.version()) {
            return Err(Refused::conflict(&key, "the object has been modified; please apply your changes to the latest version"));
        }
        if asked("uid").is_some_and(|uid| !uid.is_empty() && uid != old.uid()) {
            return Err(Refused::conflict(&key, "the UID is another one"));
        }
        for field in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "generation", "resourceVersion"] {
            restore(&mut new["metadata"], &old.value()["metadata"], field);
        }
        if !both && key.kind.status {
            match part {
                Part::Whole => restore(&mut new, old.value(), "status"),
                Part::Status => {
                    let status = new.get("status").cloned();
                    new = old.value().clone();
                    match status {
                        Some(status) => new["status"] = status,
                        None => remove(&mut new, "status"),
                    }
                }
            }
        }
        if &new == old.value() {
            return Ok(old);
        }
        if has_generation(&key) && content(&new) != content(old.value()) {
            new["metadata"]["generation"] = (old.at("/metadata/generation").as_i64().unwrap_or_default() + 1).into();
        }
        let written = self.put(by, key.clone(), Some(old), new);
        let free = written.at("/metadata/finalizers").as_array().is_none_or(Vec::is_empty);
        if written.is_leaving() && free && key.kind.name != "Pod" {
            self.remove(by, &key);
        }
        Ok(written)
    }

    /// Deletes an object: at once, or when its finalizers allow; a pod that runs, when kubelet has ended it.
    pub fn delete(&mut self, by: By, key: &Key, propagation: Propagation) -> Result<(), Refused> {
        self.delete_exactly(by, key, propagation, "", "")
    }

    pub(super) fn delete_exactly(&mut self, by: By, key: &Key, propagation: Propagation, uid: &str, version: &str) -> Result<(), Refused> {
        let (key, old) = self.objects.get_key_value(key).ok_or_else(|| Refused::not_found(key))?;
        let (key, old) = (key.clone(), old.clone());
        if !uid.is_empty() && uid != old.uid() {
            return Err(Refused::conflict(&key, "precondition failed: UID"));
        }
        if !version.is_empty() && version != old.version() {
            return Err(Refused::conflict(&key, "precondition failed: resourceVersion"));
        }
        let mut new = old.value().clone();
        match propagation {
            Propagation::Background => {}
            Propagation::Foreground if old.has_finalizer(FOREGROUND) => {}
            Propagation::Foreground => match new["metadata"]["finalizers"].as_array_mut() {
                Some(finalizers) => finalizers.push(FOREGROUND.into()),
                None => new["metadata"]["finalizers"] = json!([FOREGROUND]),
            },
            Propagation::Orphan => self.orphan(by, old.uid()),
        }
        let bound = new["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty());
        let running = key.kind.name == "Pod" && runs(&old);
        if !bound && !running {
            self.remove(by, &key);
            return Ok(());
        }
        if !old.is_leaving() {
            new["metadata"]["deletionTimestamp"] = self.time().into();
        }
        if &new != old.value() {
            self.put(by, key, Some(old), new);
        }
        Ok(())
    }

    /// Takes an object away, whatever its finalizers say.
    pub fn remove(&mut self, by: By, key: &Key) {
        if let Some((key, before)) = self.objects.remove_entry(key) {
            self.log.push(Change { by, key, before: Some(before), after: None });
        }
    }

    /// Whether the garbage collector has something to do.
    pub fn has_garbage(&self) -> bool {
        !self.garbage().is_empty()
    }

    /// One round of the garbage collector: what owners have left behind, and owners that waited for it.
    pub fn collect(&mut self) {
        for garbage in self.garbage() {
            // Somebody may have been quicker within this round.
            let _ = match garbage {
                Garbage::Delete(key) => self.delete(By::Cluster, &key, Propagation::Background),
                Garbage::LetGo(key) => self
                    .update(By::Cluster, &key, |value| {
                        if let Some(finalizers) = value["metadata"]["finalizers"].as_array_mut() {
                            finalizers.retain(|finalizer| finalizer != FOREGROUND);
                        }
                    })
                    .map(drop),
            };
        }
    }

    fn garbage<'a>(&'a self) -> Vec<Garbage> {
        let living: BTreeSet<&str> = self.objects.values().map(|object| object.uid()).collect();
        let waiting: BTreeSet<&str> = self
            .objects
            .values()
            .filter(|object| object.has_finalizer(FOREGROUND) && object.is_leaving())
            .map(|object| object.uid())
            .collect();
        let uid = |owner: &'a Value| owner["uid"].as_str().unwrap_or_default();
        let blocks = |owner: &&Value| owner["blockOwnerDeletion"] == true && waiting.contains(owner["uid"].as_str().unwrap_or_default());
        let mut blocked = BTreeSet::new();
        let mut garbage = Vec::new();
        for (key, object) in &self.objects {
            let owners = object.owners();
            blocked.extend(owners.iter().filter(blocks).map(uid));
            let left = !owners.is_empty() && !owners.iter().any(|owner| living.contains(uid(owner)));
            if (left || owners.iter().any(|owner| blocks(&owner))) && !object.is_leaving() {
                garbage.push(Garbage::Delete(key.clone()));
            }
        }
        let free = |object: &Object| waiting.contains(object.uid()) && !blocked.contains(object.uid());
        garbage.extend(self.objects.iter().filter(|(_, object)| free(object)).map(|(key, _)| Garbage::LetGo(key.clone())));
        garbage
    }

    fn orphan(&mut self, by: By, uid: &str) {
        let owned = |object: &Object| object.owners().iter().any(|owner| owner["uid"] == uid);
        let keys: Vec<_> = self.objects.iter().filter(|(_, object)| owned(object)).map(|(key, _)| key.clone()).collect();
        for key in keys {
            let stripped = self.update(by, &key, |value| {
                if let Some(owners) = value["metadata"]["ownerReferences"].as_array_mut() {
                    owners.retain(|owner| owner["uid"] != uid);
                }
            });
            debug_assert!(stripped.is_ok(), "it was there a moment ago");
        }
    }

    fn put(&mut self, by: By, key: Arc<Key>, before: Option<Arc<Object>>, mut value: Value) -> Arc<Object> {
        self.version += 1;
        value["metadata"]["resourceVersion"] = self.version.to_string().into();
        let after = Arc::new(Object::new(value));
        self.objects.insert(key.clone(), after.clone());
        self.log.push(Change { by, key, before, after: Some(after.clone()) });
        after
    }

    /// The API server's time as it is written.
    pub fn time(&self) -> String {
        jiff::Timestamp::from_second(self.now).unwrap_or_default().to_string()
    }
}

enum Garbage {
    Delete(Arc<Key>),
    LetGo(Arc<Key>),
}

/// A hash of one object under its key.
pub(super) fn entry_digest(key: &Key, object: &Object) -> u64 {
    let mut hasher = DefaultHasher::new();
    (key, object.digest()).hash(&mut hasher);
    hasher.finish()
}

/// The UID of the n-th object of this key: the same in every run.
fn uid_of(key: &Key, birth: u32) -> String {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, key, birth).hash(&mut hasher);
        hasher.finish()
    };
    let (a, b) = (half(0), half(1));
    format!("{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}", a >> 32, (a >> 16) & 0xffff, a & 0xfff, b >> 52, b & 0xffff_ffff_ffff)
}

/// Kinds whose changes of spec are counted.
fn has_generation(key: &Key) -> bool {
    key.kind.api_version.contains("kubestash") || key.kind.api_version.starts_with("batch/") || key.kind.api_version.starts_with("apps/")
}

/// Whether a pod may still have a process somewhere.
fn runs(pod: &Object) -> bool {
    let ended = matches!(pod.text_at("/status/phase"), "Succeeded" | "Failed");
    !ended && !pod.text_at("/spec/nodeName").is_empty()
}

fn content(value: &Value) -> Vec<(&String, &Value)> {
    value.as_object().into_iter().flatten().filter(|(key, _)| *key != "metadata" && *key != "status").collect()
}

fn remove(value: &mut Value, field: &str) {
    if let Some(map) = value.as_object_mut() {
        map.shift_remove(field);
    }
}

fn restore(new: &mut Value, old: &Value, field: &str) {
    match old.get(field) {
        Some(before) => new[field] = before.clone(),
        None => remove(new, field),
    }
}
