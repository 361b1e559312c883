//! The flags of every verb that changes something: why, who, and whether at once.

use clap::Args;

use crate::contexts::Context;

/// How somebody wants something done, and who that is.
#[derive(Debug, Args)]
pub(super) struct Wish {
    /// Why, for the history
    #[arg(short, long, value_name = "TEXT")]
    pub(super) message: Option<String>,
    /// Who, for the history [default: that of the context, or $USER@host]
    #[arg(long, value_name = "NAME", env = "GRIDCTL_AUTHOR")]
    author: Option<String>,
    /// Show what would be done, and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Go on without asking
    #[arg(short, long)]
    pub(super) yes: bool,
}

impl Wish {
    /// Who it is, in a context.
    pub(super) fn author(&self, context: Option<&Context>) -> String {
        let given = self.author.clone().filter(|name| !name.is_empty());
        given.or_else(|| context?.author.clone()).unwrap_or_else(default_author)
    }
}

/// Who somebody is who does not say it.
fn default_author() -> String {
    let user =
        ["USER", "LOGNAME"].into_iter().filter_map(|name| std::env::var(name).ok()).find(|name| !name.is_empty());
    let system = rustix::system::uname();
    format!("{}@{}", user.unwrap_or_else(|| "somebody".to_owned()), system.nodename().to_string_lossy())
}
