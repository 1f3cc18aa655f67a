// SPDX-License-Identifier: MIT OR Apache-2.0
//! Words to a tree of what was written, types not yet known.

use super::lex::{Lexer, Token, unescape, unescape_bytes};
use super::{ParseError, ParseErrorKind as Kind};
use crate::MAX_DEPTH;
use crate::dynamic::{Basic, DynType};

/// How deeply text may be nested: what is printed has at most a type before each level of values.
const MAX_TEXT_DEPTH: u8 = 2 * MAX_DEPTH + 2;

/// A value as it was written.
#[derive(Debug)]
pub(super) struct Node<'t> {
    /// Byte in the text where it begins.
    pub(super) at: usize,
    pub(super) written: Written<'t>,
}

#[derive(Debug)]
pub(super) enum Written<'t> {
    Number(&'t str),
    Bool(bool),
    Text(String),
    /// With its zero byte.
    Bytes(Vec<u8>),
    Just(Box<Node<'t>>),
    Nothing,
    Array(Vec<Node<'t>>),
    Tuple(Vec<Node<'t>>),
    Dict(Vec<[Node<'t>; 2]>),
    /// A dictionary entry by itself.
    Entry(Box<[Node<'t>; 2]>),
    Variant(Box<Node<'t>>),
    /// A value after its type.
    Typed(DynType, Box<Node<'t>>),
}

/// Reads the one value that a text is.
pub(super) fn parse(text: &str) -> Result<Node<'_>, ParseError> {
    let mut parser = Parser {
        lexer: Lexer::new(text)?,
    };
    let node = parser.value(MAX_TEXT_DEPTH)?;
    match parser.lexer.token() {
        Token::End => Ok(node),
        _ => Err(Kind::TrailingText.at(parser.lexer.at())),
    }
}

struct Parser<'t> {
    lexer: Lexer<'t>,
}

impl<'t> Parser<'t> {
    fn value(&mut self, depth: u8) -> Result<Node<'t>, ParseError> {
        let at = self.lexer.at();
        let depth = depth.checked_sub(1).ok_or_else(|| Kind::Depth.at(at))?;
        let token = self.lexer.token();
        match token {
            Token::End | Token::Sign(_) => {}
            _ => self.lexer.advance()?,
        }
        let written = match token {
            Token::Number(text) => Written::Number(text),
            Token::Word(word) => self.word(word, at, depth)?,
            Token::Quoted(body) => Written::Text(unescape(body).map_err(|k| k.at(at))?),
            Token::ByteQuoted(body) => Written::Bytes(unescape_bytes(body)),
            Token::Type(sig) => {
                let ty = DynType::parse(sig).map_err(|_| Kind::BadType.at(at))?;
                Written::Typed(ty, self.value(depth)?.into())
            }
            Token::Sign('[') => self.array(depth)?,
            Token::Sign('(') => self.tuple(depth)?,
            Token::Sign('{') => self.dict(depth)?,
            Token::Sign('<') => self.variant(depth)?,
            Token::End | Token::Sign(_) => return Err(Kind::ValueExpected.at(at)),
        };
        Ok(Node { at, written })
    }

    fn word(&mut self, word: &'t str, at: usize, depth: u8) -> Result<Written<'t>, ParseError> {
        Ok(match word {
            "true" => Written::Bool(true),
            "false" => Written::Bool(false),
            "inf" | "nan" => Written::Number(word),
            "nothing" => Written::Nothing,
            "just" => Written::Just(self.value(depth)?.into()),
            _ => {
                let basic = Basic::from_name(word).ok_or_else(|| Kind::UnknownKeyword.at(at))?;
                Written::Typed(DynType::basic(basic), self.value(depth)?.into())
            }
        })
    }

    fn array(&mut self, depth: u8) -> Result<Written<'t>, ParseError> {
        self.lexer.advance()?;
        let mut elements = Vec::new();
        while !self.lexer.take(']')? {
            if !elements.is_empty() {
                self.lexer
                    .require(',', "',' or ']' to follow array element")?;
            }
            elements.push(self.value(depth)?);
        }
        Ok(Written::Array(elements))
    }

    /// A comma is required after the first member, whether or not another follows.
    fn tuple(&mut self, depth: u8) -> Result<Written<'t>, ParseError> {
        self.lexer.advance()?;
        let mut members = Vec::new();
        while !self.lexer.take(')')? {
            if members.len() > 1 {
                self.lexer
                    .require(',', "',' or ')' to follow tuple element")?;
            }
            members.push(self.value(depth)?);
            if members.len() == 1 {
                self.lexer.require(',', "',' after first tuple element")?;
            }
        }
        Ok(Written::Tuple(members))
    }

    fn variant(&mut self, depth: u8) -> Result<Written<'t>, ParseError> {
        self.lexer.advance()?;
        let value = self.value(depth)?;
        self.lexer.require('>', "'>' to follow variant value")?;
        Ok(Written::Variant(value.into()))
    }

    /// `{key: value, …}`, or a single entry `{key, value}`.
    fn dict(&mut self, depth: u8) -> Result<Written<'t>, ParseError> {
        self.lexer.advance()?;
        let mut entries = Vec::new();
        while !self.lexer.take('}')? {
            if !entries.is_empty() {
                self.lexer
                    .require(',', "',' or '}' to follow dictionary entry")?;
            }
            let key = self.value(depth)?;
            if entries.is_empty() && self.lexer.take(',')? {
                let value = self.value(depth)?;
                self.lexer.require('}', "'}' at end of dictionary entry")?;
                return Ok(Written::Entry([key, value].into()));
            }
            self.lexer
                .require(':', "':' to follow dictionary entry key")?;
            entries.push([key, self.value(depth)?]);
        }
        Ok(Written::Dict(entries))
    }
}
