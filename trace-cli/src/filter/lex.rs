//! Text to tokens, each with its place in the text.

use std::ops::Range;

use winnow::ascii::multispace0;
use winnow::combinator::{alt, delimited, preceded, repeat};
use winnow::error::EmptyError;
use winnow::prelude::*;
use winnow::stream::{LocatingSlice, Location as _};
use winnow::token::{any, none_of, one_of, take_while};

use super::error::FilterError;

/// A token and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind<'a>,
    pub(super) span: Range<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// A keyword, name, number, or address without colons.
    Word(&'a str),
    /// The same after pcap's `\`, which takes away a keyword's meaning.
    Escaped(&'a str),
    /// Our own: a name in quotes, which may hold anything.
    Quoted(String),
    /// Something with two colons or more: an IPv6 or Ethernet address.
    Address(&'a str),
    And,
    Or,
    Not,
    Open,
    Close,
    Slash,
    /// Any other sign of pcap's arithmetic.
    Operator(&'a str),
}

type Input<'a> = LocatingSlice<&'a str>;
type Lexed<T> = winnow::Result<T, EmptyError>;

pub(super) fn tokens(text: &str) -> Result<Vec<Token<'_>>, FilterError> {
    let mut input = Input::new(text);
    let mut tokens = Vec::new();
    loop {
        let _: Lexed<&str> = multispace0.parse_next(&mut input);
        let start = input.current_token_start();
        let Some(next) = text[start..].chars().next() else {
            return Ok(tokens);
        };
        let lexed = kind.with_span().parse_next(&mut input);
        let (kind, span) = lexed.map_err(|_| unknown(next, start, text.len()))?;
        tokens.push(Token { kind, span });
    }
}

fn unknown(next: char, start: usize, end: usize) -> FilterError {
    if matches!(next, '"' | '\'') {
        return FilterError::invalid(start..end, "this quote is never closed");
    }
    let sign = next.escape_debug();
    FilterError::invalid(
        start..start + next.len_utf8(),
        format!("`{sign}` has no meaning in a filter expression"),
    )
}

fn kind<'a>(input: &mut Input<'a>) -> Lexed<Kind<'a>> {
    alt((address, word, quoted, escaped, sign)).parse_next(input)
}

fn address<'a>(input: &mut Input<'a>) -> Lexed<Kind<'a>> {
    take_while(1.., |c: char| {
        c.is_ascii_hexdigit() || matches!(c, ':' | '.')
    })
    .verify(|run: &str| run.bytes().filter(|&b| b == b':').count() >= 2)
    .map(Kind::Address)
    .parse_next(input)
}

fn word<'a>(input: &mut Input<'a>) -> Lexed<Kind<'a>> {
    let first = one_of(|c: char| c.is_alphanumeric() || c == '_');
    let rest = take_while(0.., |c: char| {
        c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '@')
    });
    (first, rest)
        .take()
        .map(|word| match word {
            "and" => Kind::And,
            "or" => Kind::Or,
            "not" => Kind::Not,
            _ => Kind::Word(word),
        })
        .parse_next(input)
}

fn quoted<'a>(input: &mut Input<'a>) -> Lexed<Kind<'a>> {
    let Some(quote @ ('"' | '\'')) = input.peek_token() else {
        return Err(EmptyError);
    };
    let plain = take_while(1.., move |c| c != quote && c != '\\');
    let escape = preceded('\\', any.take());
    let body = repeat(0.., alt((plain, escape))).fold(String::new, |name, part: &str| name + part);
    delimited(quote, body, quote)
        .map(|name: String| Kind::Quoted(name))
        .parse_next(input)
}

fn escaped<'a>(input: &mut Input<'a>) -> Lexed<Kind<'a>> {
    let name = (
        none_of([' ', '!', '(', ')', '\n', '\t']),
        take_while(0.., |c| !" !()\n\t".contains(c)),
    )
        .take();
    preceded('\\', name).map(Kind::Escaped).parse_next(input)
}

fn sign<'a>(input: &mut Input<'a>) -> Lexed<Kind<'a>> {
    let double = alt(("&&", "||", ">=", "<=", "!=", "==", "<<", ">>"));
    let single = one_of(|c| "+-*/%:[]!<>()&|^=".contains(c)).take();
    alt((double, single))
        .map(|sign| match sign {
            "&&" => Kind::And,
            "||" => Kind::Or,
            "!" => Kind::Not,
            "(" => Kind::Open,
            ")" => Kind::Close,
            "/" => Kind::Slash,
            _ => Kind::Operator(sign),
        })
        .parse_next(input)
}
