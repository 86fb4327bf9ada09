//! Integer expressions inside shader templates: `${4*i+j}`, `#if F16 && C % 4 == 0`.

use std::collections::BTreeMap;

/// Values of the names that an expression may use; a name that is absent is an error, not zero.
pub type Scope = BTreeMap<String, i64>;

/// Evaluates `text` under `scope`. Comparisons and logic give 0 or 1.
///
/// # Errors
/// A message for the template's author: a syntax error, an unknown name, a division by zero.
pub fn evaluate(text: &str, scope: &Scope) -> Result<i64, String> {
    let mut parser = Parser { rest: text.trim(), scope };
    let value = parser.binary(0)?;
    if parser.rest.is_empty() { Ok(value) } else { Err(format!("unexpected `{}` in `{text}`", parser.rest)) }
}

/// Binary operators, loosest first; within a row, a longer spelling before its prefix.
const LEVELS: [&[&str]; 5] = [&["||"], &["&&"], &["==", "!=", "<=", ">=", "<", ">"], &["+", "-"], &["*", "/", "%"]];

struct Parser<'a> {
    rest: &'a str,
    scope: &'a Scope,
}

impl Parser<'_> {
    fn eat(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }

    fn binary(&mut self, level: usize) -> Result<i64, String> {
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        while let Some(operator) = operators.iter().find(|o| self.rest.starts_with(**o)) {
            self.eat(operator);
            let right = self.binary(level + 1)?;
            left = apply(operator, left, right)?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<i64, String> {
        if self.eat("!") {
            return Ok((self.unary()? == 0) as i64);
        }
        if self.eat("-") {
            return self.unary()?.checked_neg().ok_or_else(|| "overflow".into());
        }
        if self.eat("(") {
            let value = self.binary(0)?;
            return if self.eat(")") { Ok(value) } else { Err("a `)` is missing".into()) };
        }
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            word.parse().map_err(|_| format!("`{word}` is not an integer"))
        } else {
            self.scope.get(word).copied().ok_or_else(|| format!("`{word}` is not defined"))
        }
    }
}

fn apply(operator: &str, a: i64, b: i64) -> Result<i64, String> {
    let value = match operator {
        "||" => Some((a != 0 || b != 0) as i64),
        "&&" => Some((a != 0 && b != 0) as i64),
        "==" => Some((a == b) as i64),
        "!=" => Some((a != b) as i64),
        "<=" => Some((a <= b) as i64),
        ">=" => Some((a >= b) as i64),
        "<" => Some((a < b) as i64),
        ">" => Some((a > b) as i64),
        "+" => a.checked_add(b),
        "-" => a.checked_sub(b),
        "*" => a.checked_mul(b),
        "/" => a.checked_div(b),
        _ => a.checked_rem(b),
    };
    value.ok_or_else(|| format!("{a} {operator} {b} overflows or divides by zero"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_usual_precedence() {
        let scope = Scope::from([("I".into(), 3), ("F16".into(), 0)]);
        for (text, value) in [
            ("1+2*3", 7),
            ("(1+2)*I", 9),
            ("10-4-3", 3),
            ("I*4 % 5", 2),
            ("-I + 1", -2),
            ("!F16 && I >= 3", 1),
            ("F16 || I == 2", 0),
            ("1 != 2", 1),
        ] {
            assert_eq!(evaluate(text, &scope), Ok(value), "{text}");
        }
    }

    #[test]
    fn names_what_is_wrong() {
        for text in ["", "1+", "X", "(1", "1 2", "1/0", "9223372036854775807+1"] {
            assert!(evaluate(text, &Scope::new()).is_err(), "{text}");
        }
    }
}
