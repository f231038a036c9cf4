//! Asking for secrets: hidden on a terminal, a line of standard input otherwise.

use cas_client::{ClientError, Result};
use std::io::IsTerminal;

/// Asks for a secret.
pub fn secret(question: &str) -> Result<String> {
    let failed = |e| ClientError::io("read a secret", e);
    if std::io::stdin().is_terminal() {
        return rpassword::prompt_password(question).map_err(failed);
    }
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(failed)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
