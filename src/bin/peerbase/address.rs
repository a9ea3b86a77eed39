//! Parsers of network addresses, for arguments and the configuration.

/// Parses a listen address: a host and a port.
pub(crate) fn listen_address(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is no listen address; write it as HOST:PORT, such as 0.0.0.0:7654")),
    }
}

/// Parses the address of a peer: a scheme, a host and a port.
pub(crate) fn peer_address(text: &str) -> Result<String, String> {
    match text.strip_prefix("ws://").map(|rest| listen_address(rest.trim_end_matches('/'))) {
        Some(Ok(_)) => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is no address; write it as ws://HOST:PORT")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listen_address_has_a_host_and_a_port() {
        for right in ["0.0.0.0:7654", "[::]:0", "ada.local:1"] {
            assert!(listen_address(right).is_ok(), "{right}");
        }
        for wrong in ["7654", ":1", "ada:70000"] {
            assert!(listen_address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_peer_address_has_a_scheme() {
        assert!(peer_address("ws://ada.local:7654").is_ok());
        assert!(peer_address("ada.local:7654").is_err() && peer_address("http://ada.local:1").is_err());
    }
}
