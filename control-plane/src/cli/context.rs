//! `gridctl context`: stores by name.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCompleter;
use serde_json::json;

use super::format::{Format, Shown, print_value, print_yaml};
use super::store::{StoreFlags, read_contexts};
use super::{Status, attempt, complete};
use crate::contexts::{Context, Contexts, as_json, check_name};
use crate::output::Output;
use crate::table::columns;

/// Stores by name: which there are, and which one is meant where nothing else is said.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Named {
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
They are in $GRIDCTL_CONTEXTS, or else $XDG_CONFIG_HOME/gridctl/contexts.yaml, or else ~/.config/gridctl/contexts.yaml. No
password is ever in it, only the name of a file that has one.

Where the documents are is said by, the first of these:
  1. --store, --context or --etcd on the command line
  2. GRIDCTL_STORE, GRIDCTL_CONTEXT or GRIDROUTER_ETCD in the environment, in this order
  3. the file of --settings or GRIDCTL_SETTINGS, where it names a store
  4. the current context

Examples:
  gridctl context set dev --store config/examples/quickstart
  gridctl context set prod --store etcds://10.0.0.1:2379 --etcd-ca /etc/grid/ca.pem --protected
  gridctl context use prod
  gridctl context list
  gridctl get tenants --context dev";

#[derive(Debug, Subcommand)]
enum Verb {
    List(List),
    Use(Use),
    Set(Set),
    Delete(Delete),
    Show(Show),
}

/// Print all contexts.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  gridctl context list\n  gridctl context list -o name")]
struct List {
    /// How to print them
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

/// Make a context the current one.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  gridctl context use prod")]
struct Use {
    /// Its name
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::contexts))]
    name: String,
}

/// Make a context, or change what it says.
///
/// What the command line says of the store and of etcd is remembered, and what it does not mention stays as it is. The
/// environment does not count.
#[derive(Debug, Args)]
#[command(after_help = SET)]
struct Set {
    /// Its name
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::contexts))]
    name: String,
    /// Who changes something, where neither --author nor GRIDCTL_AUTHOR says so; empty for $USER@host
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
    /// Whether whoever changes something there has to type the context's name, or say --yes
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    protected: Option<bool>,
    /// Also make it the current one
    #[arg(long)]
    current: bool,
}

const SET: &str = "\
Examples:
  gridctl context set dev --store config/examples/quickstart --current
  gridctl context set prod --store etcds://10.0.0.1:2379 --etcd-ca /etc/grid/ca.pem --protected
  gridctl context set prod --etcd-user ann --etcd-password-file /run/ann
  gridctl context set prod --author on-call
  gridctl context set prod --protected=false";

/// Forget a context. The store stays as it is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  gridctl context delete dev")]
struct Delete {
    /// Its name
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::contexts))]
    name: String,
}

/// Print what a context says.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  gridctl context show\n  gridctl context show prod -o json")]
struct Show {
    /// Its name [default: that of the current one]
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::contexts))]
    name: Option<String>,
    /// How to print it
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "table")]
    output: Shown,
}

impl Named {
    pub(super) fn run(&self, store: &StoreFlags, output: &mut Output) -> Status {
        let outcome = attempt(output, |output| match &self.verb {
            Verb::List(list) => list.run(output),
            Verb::Use(one) => make_current(&one.name, output),
            Verb::Set(set) => set.run(store, output),
            Verb::Delete(delete) => delete.run(output),
            Verb::Show(show) => show.run(output),
        });
        outcome.map_or_else(|status| status, |()| Status::Fine)
    }
}

/// Changes the file.
fn change<T>(change: impl FnOnce(&mut Contexts) -> Result<T, String>) -> Result<T, String> {
    let path: PathBuf =
        Contexts::path().ok_or("there is no place for contexts: neither GRIDCTL_CONTEXTS nor HOME is set")?;
    let mut contexts = Contexts::read(&path)?;
    let done = change(&mut contexts)?;
    contexts.write(&path)?;
    Ok(done)
}

fn make_current(name: &str, output: &mut Output) -> Result<(), String> {
    let place = change(|contexts| {
        let place = contexts.find(name)?.place();
        contexts.current = Some(name.to_owned());
        Ok(place)
    })?;
    output.line(format_args!("{name} is the current context: {place}"));
    warn_of_what_is_nearer(output);
    Ok(())
}

/// Says what in the environment goes before the current context.
fn warn_of_what_is_nearer(output: &mut Output) {
    let set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let nearer = ["GRIDCTL_STORE", "GRIDCTL_CONTEXT", "GRIDROUTER_ETCD", "GRIDCTL_SETTINGS"];
    for name in nearer.iter().filter(|name| set(name)) {
        output.note(format_args!("note: {name} is set, and goes before the current context"));
    }
}

impl List {
    fn run(&self, output: &mut Output) -> Result<(), String> {
        let Contexts { current, contexts } = read_contexts()?;
        let is_current = |context: &Context| current.as_deref() == Some(&*context.name);
        let short = |context: &Context| {
            let mark = if is_current(context) { "*" } else { "" };
            let protected = if context.protected { "yes" } else { "no" };
            vec![mark.to_owned(), context.name.clone(), context.place(), protected.to_owned()]
        };
        let wide = |context: &Context| {
            let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            let ca = context.etcd.ca.as_ref().map(|path| path.display().to_string());
            let more = [&context.etcd.prefix, &context.etcd.user, &context.author, &ca].map(or_none);
            [short(context), more.to_vec()].concat()
        };
        match self.output {
            Format::Table => {
                let rows: Vec<_> = contexts.iter().map(short).collect();
                output.text(columns(&["CURRENT", "NAME", "STORE", "PROTECTED"], &rows));
            }
            Format::Wide => {
                let head = ["CURRENT", "NAME", "STORE", "PROTECTED", "PREFIX", "USER", "AUTHOR", "CA"];
                output.text(columns(&head, &contexts.iter().map(wide).collect::<Vec<_>>()));
            }
            Format::Name => contexts.iter().for_each(|context| output.line(&context.name)),
            Format::Json | Format::Yaml => {
                let all: Vec<_> = contexts.iter().map(|context| as_json(context, is_current(context))).collect();
                print_value(self.output, &json!(all), output);
            }
        }
        Ok(())
    }
}

impl Set {
    fn run(&self, store: &StoreFlags, output: &mut Output) -> Result<(), String> {
        check_name(&self.name)?;
        let context = change(|contexts| {
            let fresh = || Context { name: self.name.clone(), ..Context::default() };
            let mut context = contexts.find(&self.name).ok().cloned().unwrap_or_else(fresh);
            store.remember(&mut context)?;
            if let Some(author) = &self.author {
                context.author = Some(author.clone()).filter(|name| !name.is_empty());
            }
            context.protected = self.protected.unwrap_or(context.protected);
            contexts.put(context.clone())?;
            Ok(context)
        })?;
        let protected = if context.protected { ", protected" } else { "" };
        output.line(format_args!("context {} is {}{protected}", context.name, context.place()));
        if self.current { make_current(&self.name, output) } else { Ok(()) }
    }
}

impl Delete {
    fn run(&self, output: &mut Output) -> Result<(), String> {
        let was_current = change(|contexts| contexts.remove(&self.name))?;
        output.line(format_args!("context {} is forgotten", self.name));
        if was_current {
            output.note("note: it was the current one; `gridctl context use NAME` chooses another");
        }
        Ok(())
    }
}

impl Show {
    fn run(&self, output: &mut Output) -> Result<(), String> {
        let contexts = read_contexts()?;
        let name = self.name.as_ref().or(contexts.current.as_ref());
        let name = name.ok_or("no context is the current one; `gridctl context use NAME` chooses one")?;
        let context = contexts.find(name)?;
        let value = as_json(context, contexts.current.as_ref() == Some(name));
        match self.output {
            Shown::Json => output.json(&value),
            Shown::Yaml => print_yaml(&value, output),
            Shown::Table | Shown::Wide => print_yaml(context, output),
        }
        Ok(())
    }
}
