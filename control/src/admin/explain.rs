//! Reads the question of `/explain` from its query.

use crate::catalog::explain::{Asked, Caller, Question};
use crate::world::{Account, NamespacedName};
use std::collections::BTreeMap;

/// The question, or what is wrong with it.
pub(super) fn question(query: &str) -> Result<Question, String> {
    let mut given: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(value).ok_or_else(|| format!("the value of `{name}` is not encoded well"))?;
        given.entry(name).or_default().push(value);
    }
    if let Some(unknown) = given.keys().find(|name| !["from", "to", "port", "method", "path", "header"].contains(*name))
    {
        return Err(format!("`{unknown}` is nothing that can be asked: use from, to, port, method, path, header"));
    }
    let mut one = |name: &str| given.remove(name).and_then(|mut values| values.pop()).filter(|value| !value.is_empty());
    let from = one("from").ok_or("say who calls: from=NAMESPACE/POD or from=account:NAMESPACE/NAME")?;
    let from = match from.strip_prefix("account:") {
        Some(account) => {
            let name = named(account, "from")?;
            Caller::Account(Account::new(name.namespace, name.name))
        }
        None => Caller::Pod(named(&from, "from")?),
    };
    let to = named(&one("to").ok_or("say whom: to=NAMESPACE/SERVICE")?, "to")?;
    let port = one("port").map(|port| port.parse().map_err(|_| format!("`{port}` is no port"))).transpose()?;
    let (method, path) = (one("method"), one("path"));
    let mut headers = BTreeMap::new();
    for header in given.remove("header").unwrap_or_default() {
        let (name, value) = header.split_once(':').ok_or_else(|| format!("`{header}` is no header NAME:VALUE"))?;
        headers.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
    }
    let request = match (method, path) {
        (None, None) => None,
        (method, path) => {
            let path = path.unwrap_or_else(|| "/".to_owned());
            let path = path.split('?').next().unwrap_or_default().to_owned();
            Some(Asked { method: method.unwrap_or_else(|| "GET".to_owned()), path, headers })
        }
    };
    Ok(Question { from, to, port, request })
}

fn named(text: &str, parameter: &str) -> Result<NamespacedName, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
            Ok(NamespacedName::new(namespace, name))
        }
        _ => Err(format!("{parameter}={text} is no NAMESPACE/NAME")),
    }
}

/// Percent-decoded; `None` for what is no UTF-8 or ends in the middle.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
            }
            b'+' => bytes.push(b' '),
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;
