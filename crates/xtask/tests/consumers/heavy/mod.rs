//! What takes minutes to build, or long to run.

mod cdk8s;
mod kopium;
mod kubectl_validate;
mod yaml_language_server;
