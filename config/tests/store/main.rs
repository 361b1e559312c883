//! What every store owes its users, and what etcd can do to one: against real directories and real etcd servers.

mod contract;
mod etcd_faults;
mod etcd_gate;
mod etcd_publishing;
mod etcd_secrets;
mod etcd_values;
mod support;
