//! The lock on a target: one Lease per resolved target in the controller's namespace.
