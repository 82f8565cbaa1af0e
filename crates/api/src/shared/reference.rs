//! References to other objects.

use super::wire;

wire! {
    /// Reference to an object whose kind is known from the field it stands in.
    #[derive(Eq, Hash, PartialOrd, Ord)]
    #[schemars(extend("required" = ["name"]))]
    pub struct ObjectReference {
        /// Name of the object.
        pub name: String,
        /// Namespace of the object; empty means the namespace of the object that holds this reference.
        pub namespace: String,
    }

    /// Reference to an object of any kind, in any namespace.
    #[derive(Eq, Hash, PartialOrd, Ord)]
    #[schemars(extend("required" = ["name"]))]
    pub struct TypedObjectReference {
        /// API group without version, such as `apps` or `kubedb.com`; empty means the core group.
        pub api_group: String,
        /// Kind of the object, such as `PersistentVolumeClaim`.
        pub kind: String,
        /// Namespace of the object; empty means the namespace of the object that holds this reference.
        pub namespace: String,
        /// Name of the object.
        pub name: String,
    }

    /// Reference to an object of any kind in the same namespace.
    #[derive(Eq, Hash, PartialOrd, Ord)]
    #[schemars(extend("required" = ["kind", "name"], "x-kubernetes-map-type" = "atomic"))]
    pub struct TypedLocalObjectReference {
        /// API group without version; empty means the core group.
        pub api_group: String,
        /// Kind of the object.
        pub kind: String,
        /// Name of the object.
        pub name: String,
    }

    /// An object that is needed, and whether it exists.
    #[derive(Eq, Hash)]
    #[schemars(extend("required" = ["name"]))]
    pub struct ResourceFoundStatus {
        /// API group without version.
        pub api_group: String,
        /// Kind of the object.
        pub kind: String,
        /// Namespace of the object.
        pub namespace: String,
        /// Name of the object.
        pub name: String,
        /// Whether the object exists; absent while nobody has looked.
        pub found: Option<bool>,
    }
}

impl ObjectReference {
    /// The namespace meant: the one given, or that of the object the reference stands in.
    pub fn namespace_or<'a>(&'a self, own: &'a str) -> &'a str {
        if self.namespace.is_empty() { own } else { &self.namespace }
    }
}

impl TypedObjectReference {
    /// The namespace meant: the one given, or that of the object the reference stands in.
    pub fn namespace_or<'a>(&'a self, own: &'a str) -> &'a str {
        if self.namespace.is_empty() { own } else { &self.namespace }
    }
}
