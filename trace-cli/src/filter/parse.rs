//! Tokens to a tree: a recursive descent in which each primitive hands its qualifiers on to the values after it.
//!
//! pcap-filter(7): "negation has the highest precedence. Alternation and concatenation have equal precedence and associate left to
//! right", and "if an identifier is given without a keyword, the most recent keyword is assumed". As in libpcap's grammar, what
//! stands in parentheses takes the keyword from before them and hands none out of them.

use std::ops::Range;

use winnow::stream::{Stream as _, TokenSlice};

use super::ast::{End, Expr, Layer, Primitive, Transport};
use super::error::FilterError;
use super::lex::{self, Kind, Token};
use super::value::{self, Name};
use super::words;

/// How deep a tree may be, so that no expression can exhaust the stack of whoever walks it.
pub(super) const MAX_DEPTH: usize = 128;

/// What the words before a value say about it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Qualifiers {
    Address {
        layer: Option<Layer>,
        end: End,
        net: bool,
    },
    Port {
        transport: Option<Transport>,
        end: End,
        range: bool,
    },
    Protocol(Option<Layer>),
    Direction,
    Name(Name),
    Pid,
}

/// `None` for an empty expression.
pub(super) fn parse(text: &str) -> Result<Option<Expr>, FilterError> {
    let parsed = lex::tokens(text).and_then(|tokens| {
        if tokens.is_empty() {
            return Ok(None);
        }
        let mut parser = Parser {
            text,
            tokens: TokenSlice::new(&tokens),
            depth: 0,
        };
        let Parsed { expr, .. } = parser.expression(None)?;
        match parser.peek() {
            Some(token) => Err(parser.trailing(token)),
            None => Ok(Some(expr)),
        }
    });
    parsed.map_err(|error| error.within(text))
}

/// Part of a tree, its depth, and the qualifiers that a value after it would take.
pub(super) struct Parsed {
    expr: Expr,
    depth: usize,
    qualifiers: Option<Qualifiers>,
}

impl Parsed {
    pub(super) fn primitive(primitive: Primitive, qualifiers: Option<Qualifiers>) -> Self {
        Self {
            expr: Expr::Primitive(primitive),
            depth: 1,
            qualifiers,
        }
    }
}

/// The place in the tokens. Its functions take what they read, and leave the rest.
pub(super) struct Parser<'a> {
    text: &'a str,
    pub(super) tokens: TokenSlice<'a, Token<'a>>,
    depth: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn peek(&self) -> Option<&'a Token<'a>> {
        self.tokens.peek_token()
    }

    pub(super) fn next(&mut self) -> Option<&'a Token<'a>> {
        self.tokens.next_token()
    }

    pub(super) fn next_if(&mut self, kind: &Kind<'_>) -> Option<&'a Token<'a>> {
        self.peek().filter(|token| token.kind == *kind)?;
        self.next()
    }

    pub(super) fn word(&self, ahead: usize) -> Option<&'a str> {
        match self.tokens.get(ahead)?.kind {
            Kind::Word(word) => Some(word),
            _ => None,
        }
    }

    pub(super) fn source(&self, span: Range<usize>) -> &'a str {
        &self.text[span]
    }

    /// Says what should have stood at `found`.
    pub(super) fn expected(&self, what: &str, found: Option<&Token<'_>>) -> FilterError {
        match found {
            Some(token) => {
                let message = format!(
                    "expected {what}, found `{}`",
                    self.source(token.span.clone()).escape_debug()
                );
                FilterError::invalid(token.span.clone(), message)
            }
            None => {
                let end = self.text.trim_end().len();
                FilterError::invalid(
                    end..end,
                    format!("expected {what}, found the end of the expression"),
                )
            }
        }
    }

    /// What stands after a whole expression and does not belong there.
    fn trailing(&self, token: &Token<'_>) -> FilterError {
        let span = token.span.clone();
        match token.kind {
            Kind::Operator("&") => self
                .expected("`and`", Some(token))
                .help("did you mean `&&`?"),
            Kind::Operator("|") => self
                .expected("`or`", Some(token))
                .help("did you mean `||`?"),
            Kind::Close => FilterError::invalid(span, "this parenthesis closes nothing"),
            Kind::Word(word) if words::KEYWORDS.contains(&word) || words::is_unsupported(word) => {
                self.expected("`and`, `or` or the end", Some(token))
                    .help("join two conditions with `and`")
            }
            Kind::Word(word) => self
                .expected("`and`, `or` or the end", Some(token))
                .near(words::nearest(word, ["and", "or"])),
            _ => self.expected("`and`, `or` or the end", Some(token)),
        }
    }

    fn nested<T>(
        &mut self,
        at: &Token<'_>,
        inner: impl FnOnce(&mut Self) -> Result<T, FilterError>,
    ) -> Result<T, FilterError> {
        self.depth += 1;
        check_depth(self.depth, at)?;
        let parsed = inner(self);
        self.depth -= 1;
        parsed
    }

    /// `operand {and|or operand}`, of equal precedence, to the left.
    fn chain(
        &mut self,
        inherited: Option<Qualifiers>,
        operand: fn(&mut Self, Option<Qualifiers>) -> Result<Parsed, FilterError>,
    ) -> Result<Parsed, FilterError> {
        let mut left = operand(self, inherited)?;
        while let Some(token) = self
            .peek()
            .filter(|token| matches!(token.kind, Kind::And | Kind::Or))
        {
            self.next();
            let right = operand(self, left.qualifiers)?;
            let flat = |expr: &Expr| match expr {
                Expr::And(_) => token.kind == Kind::And,
                Expr::Or(_) => token.kind == Kind::Or,
                _ => false,
            };
            let grown = |side: &Parsed| side.depth + usize::from(!flat(&side.expr));
            let depth = grown(&left).max(grown(&right));
            check_depth(depth, token)?;
            let join = if token.kind == Kind::And {
                Expr::and
            } else {
                Expr::or
            };
            left = Parsed {
                expr: join(left.expr, right.expr),
                depth,
                qualifiers: right.qualifiers,
            };
        }
        Ok(left)
    }

    fn expression(&mut self, inherited: Option<Qualifiers>) -> Result<Parsed, FilterError> {
        self.chain(inherited, Self::term)
    }

    fn term(&mut self, inherited: Option<Qualifiers>) -> Result<Parsed, FilterError> {
        let Some(token) = self.peek() else {
            return Err(self.expected("a condition", None));
        };
        match token.kind {
            Kind::Not => self.negation(token, inherited, Self::term),
            Kind::Open => self.parentheses(token, inherited, Self::term),
            Kind::Word(word) => match self.primitive(word, token)? {
                Some(parsed) => Ok(parsed),
                None => self.bare(token, inherited),
            },
            Kind::Address(_) | Kind::Escaped(_) | Kind::Quoted(_) => self.bare(token, inherited),
            Kind::Operator(sign @ ("-" | "[")) => Err(FilterError::unsupported(
                token.span.clone(),
                format_args!("arithmetic (`{sign}`)"),
            )),
            _ => Err(self.expected("a condition", Some(token))),
        }
    }

    fn negation(
        &mut self,
        token: &Token<'_>,
        inherited: Option<Qualifiers>,
        operand: fn(&mut Self, Option<Qualifiers>) -> Result<Parsed, FilterError>,
    ) -> Result<Parsed, FilterError> {
        self.next();
        let inner = self.nested(token, |parser| operand(parser, inherited))?;
        let depth = inner.depth + 1;
        check_depth(depth, token)?;
        Ok(Parsed {
            expr: Expr::negate(inner.expr),
            depth,
            qualifiers: inner.qualifiers,
        })
    }

    fn parentheses(
        &mut self,
        open: &Token<'_>,
        inherited: Option<Qualifiers>,
        operand: fn(&mut Self, Option<Qualifiers>) -> Result<Parsed, FilterError>,
    ) -> Result<Parsed, FilterError> {
        self.next();
        let inner = self.nested(open, |parser| parser.chain(inherited, operand))?;
        if self.next_if(&Kind::Close).is_some() {
            return Ok(Parsed {
                qualifiers: inherited,
                ..inner
            });
        }
        Err(match self.peek() {
            Some(token) => self.trailing(token),
            None => FilterError::invalid(open.span.clone(), "this parenthesis is never closed"),
        })
    }

    /// A value whose qualifiers were left out.
    fn bare(
        &mut self,
        token: &Token<'_>,
        inherited: Option<Qualifiers>,
    ) -> Result<Parsed, FilterError> {
        let source = self.source(token.span.clone());
        let arithmetic = source.starts_with(|c: char| c.is_ascii_digit())
            && self
                .tokens
                .get(1)
                .is_some_and(|after| matches!(after.kind, Kind::Operator(_)));
        if arithmetic {
            return Err(FilterError::unsupported(
                token.span.clone(),
                "arithmetic on numbers",
            ));
        }
        match (inherited, &token.kind) {
            (Some(Qualifiers::Name(_)), Kind::Word(word)) => match words::slip(word) {
                // A name may be anything, so a slip in a keyword would silently become a name.
                Some(near) => {
                    let message = format!("`{word}` could be a name or a slip");
                    let help = format!("write `{near}`, or \"{word}\" in quotes for the name");
                    Err(FilterError::invalid(token.span.clone(), message).help(help))
                }
                None => self.value(inherited),
            },
            (Some(_), _) => self.value(inherited),
            (None, Kind::Address(_)) => Err(self.unqualified(source, "host")),
            (None, Kind::Word(word)) if word.parse::<std::net::Ipv4Addr>().is_ok() => {
                Err(self.unqualified(source, "host"))
            }
            (None, Kind::Word(word)) if word.parse::<u32>().is_ok() => {
                Err(self.unqualified(source, "port"))
            }
            (None, Kind::Word(word)) => Err(self
                .expected("a condition", Some(token))
                .near(words::nearest(word, words::all()))),
            (None, _) => Err(self.expected("a condition", Some(token))),
        }
    }

    fn unqualified(&self, source: &str, keyword: &str) -> FilterError {
        self.expected("a keyword before the value", self.peek())
            .help(format!("did you mean `{keyword} {source}`?"))
    }

    /// A value, or several in parentheses: what may follow qualifiers.
    pub(super) fn values(&mut self, qualifiers: Option<Qualifiers>) -> Result<Parsed, FilterError> {
        match self.peek() {
            Some(token) if token.kind == Kind::Not => {
                self.negation(token, qualifiers, Self::values)
            }
            Some(token) if token.kind == Kind::Open => {
                self.parentheses(token, qualifiers, Self::values)
            }
            _ => self.value(qualifiers),
        }
    }

    fn value(&mut self, qualifiers: Option<Qualifiers>) -> Result<Parsed, FilterError> {
        let Some(known) = qualifiers else {
            return Err(self.expected("a condition", self.peek()));
        };
        Ok(Parsed::primitive(value::value(self, known)?, qualifiers))
    }
}

fn check_depth(depth: usize, at: &Token<'_>) -> Result<(), FilterError> {
    if depth <= MAX_DEPTH {
        return Ok(());
    }
    Err(FilterError::invalid(
        at.span.clone(),
        format!("the expression nests deeper than {MAX_DEPTH} levels here"),
    ))
}
