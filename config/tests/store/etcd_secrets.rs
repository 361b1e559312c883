//! Users, passwords and certificates.

use std::fs;
use std::path::Path;
use std::process::Command;

use etcd_client::{Permission, PermissionType};
use gridrouter_config::store::etcd::EtcdSettings;

use super::support::reader::{Reader, bodies};
use super::support::server::Server;
use super::support::{by, hurried, publish, put, writer};

#[test]
fn a_user_with_rights_below_the_prefix_is_enough_and_a_token_that_expired_is_renewed() {
    // Tokens live for two seconds.
    let server = Server::with("http", |_| vec!["--auth-token-ttl".to_owned(), "2".to_owned()]);
    let mut raw = server.raw();
    raw.client(async |client| {
        client.user_add("root", "root", None).await?;
        client.user_grant_role("root", "root").await?;
        client.role_add("grid").await?;
        let all = Permission::new(PermissionType::Readwrite, "/gridrouter/").with_prefix();
        client.role_grant_permission("grid", all).await?;
        client.user_add("router", "secret", None).await?;
        client.user_grant_role("router", "grid").await?;
        client.auth_enable().await
    });
    let with = |user: Option<&str>, password: Option<&str>| {
        let (user, password) = (user.map(str::to_owned), password.map(str::to_owned));
        hurried(EtcdSettings { endpoints: server.urls(), user, password, ..EtcdSettings::default() })
    };
    for (user, password) in [(None, None), (Some("router"), Some("wrong")), (Some("nobody"), Some("secret"))] {
        let mut reader = Reader::etcd(&with(user, password));
        reader.look();
        let error = reader.error.unwrap();
        assert!(error.contains("check the user"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
    let options = with(Some("router"), Some("secret"));
    let mut writer = writer(&options);
    let mut reader = Reader::etcd(&options);
    for generation in 1..4 {
        publish(&mut writer, &[put("a", &generation.to_string())]);
        reader.until_generation(generation);
        // Longer than a token lives.
        std::thread::park_timeout(std::time::Duration::from_millis(2_500));
    }
    let base = writer.base().unwrap();
    writer.publish(&base, &[put("a", "last")], &by("router")).unwrap();
    reader.until_generation(4);
    assert_eq!(reader.bodies(), bodies(&[("a", "last")]));
}

/// An authority, a certificate for the server and one for a client.
fn certificates(directory: &Path) {
    let openssl = |arguments: &[&str]| {
        let made = Command::new("openssl").args(arguments).current_dir(directory).output();
        let made = made.expect("openssl is missing: run scripts/setup test (Debian: openssl)");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let ca = ["req", "-x509", "-subj", "/CN=test-ca", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2"];
    openssl(&[&ca[..], &key[..]].concat());
    for (name, extensions) in [
        ("server", "subjectAltName=DNS:etcd.test,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth"),
        ("client", "extendedKeyUsage=clientAuth"),
    ] {
        fs::write(directory.join("extensions"), format!("basicConstraints=CA:FALSE\n{extensions}\n")).unwrap();
        let subject = format!("/CN={name}");
        let [key_file, request, pem] = ["key", "csr", "pem"].map(|end| format!("{name}.{end}"));
        openssl(&[&["req", "-subj", &subject, "-keyout", &key_file, "-out", &request][..], &key[..]].concat());
        openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-out",
            &pem,
            "-days",
            "2",
            "-extfile",
            "extensions",
        ]);
    }
}

#[test]
fn certificates_are_checked_on_both_sides() {
    let server = Server::with("https", |home| {
        certificates(home);
        let file = |name: &str| home.join(name).display().to_string();
        [
            ["--cert-file", &file("server.pem")],
            ["--key-file", &file("server.key")],
            ["--trusted-ca-file", &file("ca.pem")],
        ]
        .into_iter()
        .flatten()
        .map(str::to_owned)
        .chain(["--client-cert-auth".to_owned()])
        .collect()
    });
    let file = |name: &str| Some(server.home().join(name));
    let settings = |ca: bool, client: bool, name: Option<&str>| EtcdSettings {
        endpoints: server.urls(),
        ca: if ca { file("ca.pem") } else { None },
        cert: if client { file("client.pem") } else { None },
        key: if client { file("client.key") } else { None },
        server_name: name.map(str::to_owned),
        ..EtcdSettings::default()
    };
    for name in [None, Some("etcd.test")] {
        let options = hurried(settings(true, true, name));
        let mut writer = writer(&options);
        let published = publish(&mut writer, &[put("a", name.unwrap_or("by-address"))]);
        let mut reader = Reader::etcd(&options);
        reader.until_generation(published.generation);
        reader.until_fine();
    }
    for wrong in [settings(false, true, None), settings(true, false, None), settings(true, true, Some("other.test"))] {
        let mut reader = Reader::etcd(&hurried(wrong));
        reader.look();
        let error = reader.error.unwrap();
        assert!(error.contains(&server.url()), "{error}");
    }
}
