//! The address of a PostgreSQL store with the certificate authorities of the configuration in it.

use std::path::Path;

use url::Url;

/// The same address, with a file of certificate authorities to trust besides the driver's own list: its own
/// `sslrootcert`, else `ca_file` (`[network] ca_file`), else `SSL_CERT_FILE`. The driver reads one file.
pub fn trusting(url: &str, ca_file: Option<&Path>) -> String {
    let of_system = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty());
    with(url, ca_file.or_else(|| of_system.as_deref().map(Path::new)))
}

fn with(url: &str, ca_file: Option<&Path>) -> String {
    let parsed = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "postgres" | "postgresql"));
    let (Some(mut parsed), Some(ca_file)) = (parsed, ca_file) else { return url.to_owned() };
    let named = |key: &str| matches!(key, "sslrootcert" | "ssl-root-cert" | "ssl-ca");
    if !parsed.query_pairs().any(|(key, _)| named(&key)) {
        parsed.query_pairs_mut().append_pair("sslrootcert", &ca_file.to_string_lossy());
    }
    parsed.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_added_where_there_is_none() {
        let ca = Some(Path::new("/etc/my ca.pem"));
        let rows = [
            ("postgres://u:p%40@h/x", ca, "postgres://u:p%40@h/x?sslrootcert=%2Fetc%2Fmy+ca.pem"),
            (
                "postgres://u@h/x?sslmode=verify-ca",
                ca,
                "postgres://u@h/x?sslmode=verify-ca&sslrootcert=%2Fetc%2Fmy+ca.pem",
            ),
            ("postgres://u@h/x?sslrootcert=/own.pem", ca, "postgres://u@h/x?sslrootcert=/own.pem"),
            ("postgres://u@h/x", None, "postgres://u@h/x"),
            ("sqlite:/x", ca, "sqlite:/x"),
        ];
        for (url, ca_file, expected) in rows {
            assert_eq!(with(url, ca_file), expected);
        }
    }
}
