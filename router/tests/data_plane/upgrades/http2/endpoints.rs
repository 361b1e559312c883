//! Endpoints that speak HTTP/2, which are asked for a tunnel by an extended CONNECT.
