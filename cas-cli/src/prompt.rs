//! Asking for secrets: from a file, from the environment, hidden on a terminal, a line of standard input otherwise.

use cas_client::{ClientError, Result};
use cas_net::rights::Password;
use clap::Args;
use std::io::IsTerminal;
use std::path::PathBuf;

/// Where a password comes from.
#[derive(Debug, Args)]
pub struct PasswordSource {
    /// File whose first line is the password [default: CAS_PASSWORD, else asked for or read from standard input]
    #[arg(long, env = "CAS_PASSWORD_FILE", value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl PasswordSource {
    /// A password that exists.
    pub fn known(&self, question: &str) -> Result<Password> {
        self.given()?.map_or_else(|| secret(question).map(Password::new), Ok)
    }

    /// A new one: on a terminal it is asked for twice.
    pub fn fresh(&self, question: &str) -> Result<Password> {
        if let Some(given) = self.given()? {
            return Ok(given);
        }
        let first = secret(&format!("{question}: "))?;
        if std::io::stdin().is_terminal() && secret(&format!("{question}, again: "))? != first {
            return Err(ClientError::Usage("the two are not the same".to_owned()));
        }
        Ok(Password::new(first))
    }

    fn given(&self) -> Result<Option<Password>> {
        if let Some(path) = &self.password_file {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|e| ClientError::io(format!("read {}", path.display()), e))?;
            return Ok(Some(Password::new(text.lines().next().unwrap_or_default())));
        }
        Ok(std::env::var("CAS_PASSWORD").ok().map(Password::new))
    }
}

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
