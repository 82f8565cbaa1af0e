//! Retries, who may use an object, and declared parameters.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{Wire, wire, wire_enum};

wire! {
    /// How often something that failed is tried again.
    #[derive(Eq)]
    pub struct RetryConfig {
        /// Most retries after the first try.
        #[schemars(extend("x-default" = 1, "minimum" = 1))]
        pub max_retry: Option<i32>,
        /// Wait before a retry, as Go duration text such as `1m`; nothing means no wait.
        pub delay: String,
    }

    /// Who may use an object from another namespace.
    pub struct UsagePolicy {
        /// Namespaces whose objects may refer to this one.
        pub allowed_namespaces: Option<AllowedNamespaces>,
    }

    /// A choice of namespaces.
    pub struct AllowedNamespaces {
        /// All namespaces, only the own one, or those the selector matches.
        #[schemars(extend("x-default" = "Same"))]
        pub from: Option<Wire<FromNamespaces>>,
        /// Labels of the namespaces that are allowed; used when `from` is Selector.
        #[schemars(schema_with = "super::embedded::<LabelSelector>")]
        pub selector: Option<LabelSelector>,
    }

    /// A parameter that a task declares.
    #[derive(Eq)]
    pub struct ParameterDefinition {
        /// Name of the parameter, and of the variable that carries its value.
        pub name: String,
        /// What it is for, for people.
        pub usage: String,
        /// Whether it must be given.
        pub required: bool,
        /// Value when it is not given.
        pub default: String,
    }
}

wire_enum! {
    /// Where a user of an object may live.
    pub enum FromNamespaces {
        /// Anywhere.
        All,
        /// In namespaces the selector matches.
        Selector,
        /// In the object's own namespace.
        Same,
    }
}
