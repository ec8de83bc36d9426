"""What travels: values to messages and back, errors to status and back, TLS, and the clients of gateways."""
