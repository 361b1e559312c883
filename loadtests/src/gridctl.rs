//! `gridctl` as an operator runs it: a process for each command.

use std::process::Stdio;

use serde_json::Value;

use crate::error::{Context, Error, Result};
use crate::tools::Tool;

/// Commands on one store.
#[derive(Debug, Clone)]
pub struct Gridctl {
    store: String,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    /// What it printed.
    pub out: String,
    /// What it said beside that.
    pub err: String,
}

impl Gridctl {
    /// Commands on the store of this name, such as `etcd://127.0.0.1:2379`.
    pub fn on(store: String) -> Self {
        Self { store }
    }

    /// The name of the store.
    pub fn store(&self) -> &str {
        &self.store
    }

    /// Runs a command, whatever comes of it.
    pub async fn run(&self, arguments: &[&str]) -> Result<Said> {
        let program = Tool::Gridctl.find()?;
        let mut command = tokio::process::Command::new(&program);
        command.args(arguments).args(["--store", &self.store]);
        command.env("NO_COLOR", "1").env("GRIDCTL_AUTHOR", "drill").stdin(Stdio::null()).kill_on_drop(true);
        let ended = command.output().await.context(format_args!("cannot start {}", program.display()))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Said { code: ended.status.code().unwrap_or(-1), out: text(&ended.stdout), err: text(&ended.stderr) })
    }

    /// Runs a command that has to succeed, and returns what it printed.
    pub async fn must(&self, arguments: &[&str]) -> Result<String> {
        let said = self.run(arguments).await?;
        if said.code == 0 {
            return Ok(said.out);
        }
        let Said { code, out, err } = said;
        Err(Error::new(format!("gridctl {} ended with {code}; it said:\n{out}{err}", arguments.join(" "))))
    }

    /// Runs a command that prints JSON, and returns it with the exit code.
    pub async fn json(&self, arguments: &[&str]) -> Result<(i32, Value)> {
        let said = self.run(arguments).await?;
        let parsed = serde_json::from_str(&said.out);
        let parsed = parsed.context(format_args!("gridctl {} said no JSON but {}", arguments.join(" "), said.err))?;
        Ok((said.code, parsed))
    }
}
