//! Contexts: stores by name, so that nobody types the URL of production by heart. They are kept in one file of the user's.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use gridrouter_config::codec::to_json;
use gridrouter_config::problem::did_you_mean;
use gridrouter_config::store::etcd::EtcdSettings;
use serde::{Deserialize, Serialize};

use crate::yaml;

/// The longest name.
const NAME: usize = 63;

/// A store with a name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Context {
    /// What people call it.
    pub name: String,
    /// As for `--store`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// How etcd is reached, as in a settings file. A password is never in it, only the name of a file that has it.
    #[serde(default, skip_serializing_if = "EtcdSettings::is_empty")]
    pub etcd: EtcdSettings,
    /// Who changes something, where nobody says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Whether whoever changes something has to type the name, or say --yes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protected: bool,
}

impl Context {
    /// Where the documents are, in a word.
    pub fn place(&self) -> String {
        self.store.clone().unwrap_or_else(|| self.etcd.endpoints.join(","))
    }

    fn check(&self) -> Result<(), String> {
        check_name(&self.name)?;
        if self.etcd.password.is_some() {
            return Err(format!("context \"{}\" has a password; write passwordFile, the name of a file", self.name));
        }
        if self.place().is_empty() {
            return Err(format!("context \"{}\" names no store; write store: etcds://HOST:2379", self.name));
        }
        Ok(())
    }
}

/// Checks a name: 1 to 63 letters, digits, dots, dashes and underscores.
pub fn check_name(name: &str) -> Result<(), String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if (1..=NAME).contains(&name.len()) && name.chars().all(fine) {
        return Ok(());
    }
    Err(format!(
        "\"{}\" is no name for a context; write 1 to {NAME} of the letters a to z, digits, `.`, `-` and `_`",
        name.escape_debug()
    ))
}

/// All contexts of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Contexts {
    /// The one that is meant where nothing else is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// All of them, in the order of their names.
    #[serde(default)]
    pub contexts: Vec<Context>,
}

impl Contexts {
    /// The file: `$GRIDCTL_CONTEXTS`, or below `$XDG_CONFIG_HOME` or `~/.config`; none where there is no home.
    pub fn path() -> Option<PathBuf> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let below = |home: PathBuf| home.join("gridctl/contexts.yaml");
        // As the specification of these directories has it, one that is relative is not used.
        let xdg = set("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
        set("GRIDCTL_CONTEXTS")
            .or_else(|| xdg.map(below))
            .or_else(|| set("HOME").map(|home| below(home.join(".config"))))
    }

    /// Reads the file; one that is not there has no contexts.
    pub fn read(path: &Path) -> Result<Self, String> {
        let place = path.display();
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(Self::default());
            }
            Err(error) => return Err(format!("contexts file {place} cannot be read: {error}")),
        };
        let value = to_json(&place.to_string(), &bytes)
            .map_err(|p| format!("contexts file {place}:{}:{}: {}", p.line, p.column, p.message))?;
        if value.is_null() {
            return Ok(Self::default());
        }
        let contexts: Self =
            serde_json::from_value(value).map_err(|error| format!("contexts file {place}: {error}"))?;
        contexts.contexts.iter().try_for_each(Context::check).map_err(|why| format!("contexts file {place}: {why}"))?;
        Ok(contexts)
    }

    /// Writes the file beside its place and moves it there, so that nobody ever reads half of it. Only its owner may
    /// read it.
    pub fn write(&self, path: &Path) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("contexts file {} cannot be written: {error}", path.display());
        // Where the file is a link, what it leads to is replaced.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let json = serde_json::to_vec(self).map_err(|error| format!("contexts cannot be written: {error}"))?;
        let text = yaml::from_json(&json);
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(directory).map_err(failed)?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.new", std::process::id()));
        let new = directory.join(name);
        let written = (|| {
            let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)
        })();
        written.map_err(|error| {
            // What is left of it helps nobody; that it cannot be removed either changes nothing.
            drop(fs::remove_file(&new));
            failed(error)
        })
    }

    /// A context by its name.
    pub fn find(&self, name: &str) -> Result<&Context, String> {
        self.contexts.iter().find(|context| context.name == name).ok_or_else(|| {
            let known = || self.contexts.iter().map(|context| context.name.as_str());
            let help = did_you_mean(name, known()).unwrap_or_else(|| match known().take(6).count() {
                0 => "there is none yet; `gridctl context set NAME --store URL` makes one".to_owned(),
                1..6 => format!("there are {}", known().collect::<Vec<_>>().join(", ")),
                _ => "`gridctl context list` has them".to_owned(),
            });
            format!("there is no context \"{}\"; {help}", name.escape_debug())
        })
    }

    /// Puts a context in its place, or that of the one with its name.
    pub fn put(&mut self, context: Context) -> Result<(), String> {
        context.check()?;
        self.contexts.retain(|other| other.name != context.name);
        self.contexts.push(context);
        self.contexts.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(())
    }

    /// Takes a context away. Returns whether it was the current one.
    pub fn remove(&mut self, name: &str) -> Result<bool, String> {
        self.find(name)?;
        self.contexts.retain(|context| context.name != name);
        Ok(self.current.take_if(|current| current == name).is_some())
    }
}

/// A context as tools get it.
pub fn as_json(context: &Context, current: bool) -> serde_json::Value {
    let mut value = serde_json::to_value(context).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.insert("protected".to_owned(), context.protected.into());
        fields.insert("current".to_owned(), current.into());
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(name: &str) -> Context {
        Context { name: name.to_owned(), store: Some(format!("etcd://{name}")), ..Context::default() }
    }

    #[test]
    fn what_is_written_is_read_again_and_only_its_owner_may() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("new/contexts.yaml");
        assert_eq!(Contexts::read(&path).unwrap(), Contexts::default());
        let etcd = EtcdSettings { user: Some("ann".to_owned()), ..EtcdSettings::default() };
        let prod = Context { etcd, protected: true, author: Some("on-call".to_owned()), ..context("prod") };
        let mut contexts = Contexts { current: Some("prod".to_owned()), contexts: Vec::new() };
        contexts.put(prod).unwrap();
        contexts.put(context("dev")).unwrap();
        contexts.write(&path).unwrap();
        assert_eq!(Contexts::read(&path).unwrap(), contexts);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!fs::read_to_string(&path).unwrap().contains("null"));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert!(contexts.remove("prod").unwrap() && contexts.current.is_none());
        assert!(!contexts.remove("dev").unwrap());
    }

    #[test]
    fn what_is_wrong_is_said() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("contexts.yaml");
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            Contexts::read(&path).unwrap_err()
        };
        let password = "contexts: [{name: a, store: 'etcd://a', etcd: {user: b, password: c}}]";
        assert!(read(password).contains("write passwordFile"), "{}", read(password));
        assert!(read("contexts: [{name: a}]").contains("names no store"));
        assert!(read("contexts: [{name: a b, store: x}]").contains("no name for a context"));
        assert!(read("contexts: [{name: a, stroe: x}]").contains("stroe"));
        assert!(read("{").contains("contexts.yaml:"));
        let mut contexts = Contexts::default();
        assert!(contexts.find("prod").unwrap_err().contains("there is none yet"));
        contexts.put(context("prod")).unwrap();
        assert!(contexts.find("prdo").unwrap_err().contains("did you mean \"prod\"?"));
        assert!(contexts.find("x").unwrap_err().ends_with("there are prod"));
    }
}
