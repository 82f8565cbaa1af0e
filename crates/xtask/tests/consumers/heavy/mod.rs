//! What takes minutes to build, or long to run.

mod kopium;
mod kubectl_validate;
mod yaml_language_server;
