//! Traffic that moves from one track to the other.

mod choice;
mod counts;
mod http2;
mod mirror;
mod registered;
mod reloads;
mod simulation;
mod streams;

use std::net::SocketAddr;

use super::support::{Builder, Client, Site, Upstream};

/// One cell with a service on two tracks, and a shift from blue to green.
pub(crate) struct Tracks {
    pub(crate) blue: SocketAddr,
    pub(crate) green: SocketAddr,
    /// More of the endpoints, such as `, down: true`.
    pub(crate) blue_is: &'static str,
    pub(crate) green_is: &'static str,
}

impl Tracks {
    pub(crate) fn of(blue: &Upstream, green: &Upstream) -> Self {
        Self { blue: blue.address(), green: green.address(), blue_is: "", green_is: "" }
    }

    /// The documents but for the shift.
    pub(crate) fn builder(&self) -> Builder {
        self.builder_with("")
    }

    /// The same with more lines for the service.
    pub(crate) fn builder_with(&self, lines: &str) -> Builder {
        let Self { blue, green, blue_is, green_is } = self;
        Site::builder()
            .document("kind: Grid\nname: grid\ncells: [one]")
            .document("kind: Cell\nname: one")
            .document(&format!(
                "kind: Service\nname: all\ncells: {{one: {{blue: [{{address: {blue}{blue_is}}}], green: [{{address: \
                 {green}{green_is}}}], active: blue}}}}\n{lines}"
            ))
            .route("tenant: {from: [{header: x-tenant}], otherwise: {tenant: nobody}}\ngrid: grid")
    }

    pub(crate) fn site(&self, shift: &str) -> Site {
        self.builder().document(shift).start()
    }
}

/// The shift in a phase and with a share, and with more lines.
pub(crate) fn shift(phase: &str, share: &str, lines: &str) -> String {
    format!(
        "kind: Shift\nname: move\nservice: all\nto: green\nwaves: [{{cells: [one]}}]\nsteps: [{{weight: \
         100%}}]\nstate: {{phase: {phase}, shares: {{one: {share}}}, started: 1, since: 1}}\n{lines}"
    )
}

/// A running shift with this share.
pub(crate) fn running(share: &str) -> String {
    shift("Running", share, "")
}

/// The header of a tenant.
pub(crate) fn tenant(number: usize) -> String {
    format!("X-Tenant: tenant-{number}\r\n")
}

/// The tracks that the first tenants are on.
#[track_caller]
pub(crate) fn tracks_of(client: &mut Client, tenants: usize) -> Vec<String> {
    (0..tenants).map(|number| client.get_with("/", &tenant(number)).text()).collect()
}
