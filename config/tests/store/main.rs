//! What every store owes its users, and what etcd can do to one: against real directories and real etcd servers.

#[cfg(test)]
mod contract;
#[cfg(test)]
mod election;
#[cfg(test)]
mod etcd_again;
#[cfg(test)]
mod etcd_faults;
#[cfg(test)]
mod etcd_gate;
#[cfg(test)]
mod etcd_publishing;
#[cfg(test)]
mod etcd_secrets;
#[cfg(test)]
mod etcd_values;
#[cfg(test)]
mod live;
#[cfg(test)]
mod registered;
#[cfg(test)]
mod support;
