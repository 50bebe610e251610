//! Reads the sources as tokens: comments, strings and `#[cfg(test)]` do not count, imports with nested braces and
//! paths inside expressions and macros do.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// One module of the library, without what only tests see.
pub(super) struct Module {
    /// Its path from the root of the library.
    pub(super) path: Vec<String>,
    /// Where it is, for people.
    pub(super) file: String,
    /// The modules that it declares and keeps in files of their own.
    pub(super) children: Vec<String>,
    test_children: Vec<String>,
    tokens: Vec<TokenTree>,
}

/// One path that a module names.
pub(super) struct Import {
    pub(super) line: usize,
    /// From the root of the library.
    pub(super) path: Vec<String>,
}

impl Module {
    pub(super) fn parse(path: &[&str], file: &str, source: &str) -> Self {
        let stream: TokenStream = source.parse().unwrap_or_else(|error| panic!("{file}: {error}"));
        let all: Vec<TokenTree> = stream.into_iter().collect();
        let tokens = without_tests(&all);
        let children = declared(&tokens);
        let test_children = declared(&all).into_iter().filter(|name| !children.contains(name)).collect();
        let path = path.iter().map(|name| (*name).to_owned()).collect();
        Self { path, file: file.to_owned(), children, test_children, tokens }
    }

    /// True for the module at this path and all below it.
    pub(super) fn is_in(&self, path: &[&str]) -> bool {
        self.path.len() >= path.len() && self.path.iter().zip(path).all(|(own, asked)| own == asked)
    }

    /// Everything of our own that it names: `crate::…`, `super::…`, and `rekeyd::…` in the program's main file.
    pub(super) fn imports(&self) -> Vec<Import> {
        let mut found = Vec::new();
        imports_in(&self.tokens, &self.path, &mut found);
        found
    }

    /// The lines on which the word stands; `word!` is a call of that macro.
    pub(super) fn lines_saying(&self, word: &str) -> Vec<usize> {
        let mut found = Vec::new();
        words_in(&self.tokens, word, &mut found);
        found
    }
}

// --- fields ----------------------------------------------------------------------------------------------------

impl Module {
    /// Every public field of its public structs, and every field of the variants of its public enums.
    pub(super) fn fields(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for item in self.tokens.windows(4) {
            let [public, kind, _, TokenTree::Group(body)] = item else { continue };
            if !is_word(public, "pub") || body.delimiter() != Delimiter::Brace {
                continue;
            }
            let body = inner_of(body);
            if is_word(kind, "struct") {
                found.extend(named(&body).filter(|(public, _)| *public).map(|(_, name)| name));
            } else if is_word(kind, "enum") {
                let variants = body.iter().filter_map(|token| match token {
                    TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Some(inner_of(group)),
                    _ => None,
                });
                found.extend(
                    variants.flat_map(|fields| named(&fields).map(|(_, name)| name).collect::<Vec<_>>()),
                );
            }
        }
        found
    }
}

/// `pub name: …` and `name: …`, and which of both.
fn named(body: &[TokenTree]) -> impl Iterator<Item = (bool, String)> {
    body.windows(3).enumerate().filter_map(|(place, window)| {
        let [TokenTree::Ident(name), colon, next] = window else { return None };
        let alone = is_punct(colon, ':') && !is_punct(next, ':');
        let before = place.checked_sub(1).map(|before| &body[before]);
        let path = before.is_some_and(|token| is_punct(token, ':'));
        (alone && !path).then(|| (before.is_some_and(|token| is_word(token, "pub")), name.to_string()))
    })
}

// --- the tree of files -----------------------------------------------------------------------------------------

/// Every module of the library below `src`, except those of tests.
pub(super) fn library(src: &Path) -> Vec<Module> {
    let mut modules = Vec::new();
    walk(&src.join("lib.rs"), src, &[], &mut |_, module| modules.push(module));
    modules
}

/// The program's main file, as the room `main`.
pub(super) fn main_file(src: &Path) -> Module {
    read(&src.join("main.rs"), &["main"])
}

/// Every file that is a module of the library, or of its tests.
pub(super) fn reached(src: &Path) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    let mut tests = Vec::new();
    let mut visit = |folder: &Path, module: Module| {
        tests.extend(module.test_children.iter().map(|name| (file_of(folder, name), folder.join(name))));
        files.insert(module.file);
    };
    walk(&src.join("lib.rs"), src, &[], &mut visit);
    for (file, folder) in tests {
        walk(&file, &folder, &[], &mut |_, module| {
            files.insert(module.file);
        });
    }
    files
}

fn read(file: &Path, path: &[&str]) -> Module {
    let source = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    Module::parse(path, &file.display().to_string(), &source)
}

/// `folder` is where the children of the module in `file` are.
fn walk(file: &Path, folder: &Path, path: &[&str], visit: &mut impl FnMut(&Path, Module)) {
    let module = read(file, path);
    let children = module.children.clone();
    visit(folder, module);
    for name in &children {
        let inner: Vec<&str> = path.iter().copied().chain([name.as_str()]).collect();
        walk(&file_of(folder, name), &folder.join(name), &inner, visit);
    }
}

fn file_of(folder: &Path, name: &str) -> PathBuf {
    let flat = folder.join(format!("{name}.rs"));
    if flat.exists() { flat } else { folder.join(name).join("mod.rs") }
}

/// `mod name;`
fn declared(tokens: &[TokenTree]) -> Vec<String> {
    let names = tokens.windows(3).filter(|window| is_word(&window[0], "mod") && is_punct(&window[2], ';'));
    names.map(|window| window[1].to_string()).collect()
}

// --- tokens ----------------------------------------------------------------------------------------------------

fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == word)
}

fn is_punct(token: &TokenTree, mark: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == mark)
}

fn is_cfg_test(attribute: &TokenTree) -> bool {
    matches!(attribute, TokenTree::Group(group) if group.stream().to_string().replace(' ', "") == "cfg(test)")
}

/// The tokens without the items behind `#[cfg(test)]`, at every depth.
fn without_tests(tokens: &[TokenTree]) -> Vec<TokenTree> {
    let mut kept = Vec::new();
    let mut rest = tokens;
    while let Some((token, after)) = rest.split_first() {
        if is_punct(token, '#') && after.first().is_some_and(is_cfg_test) {
            let end = after.iter().position(ends_item).map_or(after.len(), |end| end + 1);
            rest = &after[end..];
            continue;
        }
        kept.push(match token {
            TokenTree::Group(group) => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                let mut kept = Group::new(group.delimiter(), without_tests(&inner).into_iter().collect());
                kept.set_span(group.span());
                TokenTree::Group(kept)
            }
            other => other.clone(),
        });
        rest = after;
    }
    kept
}

fn ends_item(token: &TokenTree) -> bool {
    is_punct(token, ';') || matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}

fn inner_of(group: &Group) -> Vec<TokenTree> {
    group.stream().into_iter().collect()
}

fn words_in(tokens: &[TokenTree], word: &str, found: &mut Vec<usize>) {
    for (place, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => words_in(&inner_of(group), word, found),
            TokenTree::Ident(_) => {
                let called = |name: &str| {
                    is_word(token, name) && tokens.get(place + 1).is_some_and(|next| is_punct(next, '!'))
                };
                if is_word(token, word) || word.strip_suffix('!').is_some_and(called) {
                    found.push(token.span().start().line);
                }
            }
            _ => {}
        }
    }
}

// --- paths -----------------------------------------------------------------------------------------------------

fn is_colons(tokens: &[TokenTree]) -> bool {
    matches!(tokens, [one, two, ..] if is_punct(one, ':') && is_punct(two, ':'))
}

/// `at` is the module that the tokens stand in; inline modules are one deeper.
fn imports_in(tokens: &[TokenTree], at: &[String], found: &mut Vec<Import>) {
    let mut rest = tokens;
    while let Some((token, after)) = rest.split_first() {
        rest = after;
        match (token, after) {
            (TokenTree::Ident(word), [TokenTree::Ident(name), TokenTree::Group(group), ..])
                if word == "mod" =>
            {
                let inner: Vec<String> = at.iter().cloned().chain([name.to_string()]).collect();
                imports_in(&inner_of(group), &inner, found);
                rest = &after[2..];
            }
            (TokenTree::Group(group), _) => imports_in(&inner_of(group), at, found),
            (TokenTree::Ident(_), _) if is_colons(after) => {
                if let Some((base, skipped)) = base_of(rest_with(tokens, rest), at) {
                    let line = token.span().start().line;
                    rest = branches(&rest_with(tokens, rest)[skipped..], base, line, found);
                }
            }
            _ => {}
        }
    }
}

/// `rest` and the token before it.
fn rest_with<'t>(tokens: &'t [TokenTree], rest: &[TokenTree]) -> &'t [TokenTree] {
    &tokens[tokens.len() - rest.len() - 1..]
}

/// The module that a path begins at, and how many tokens say so. `None` for paths that are not ours.
fn base_of(tokens: &[TokenTree], at: &[String]) -> Option<(Vec<String>, usize)> {
    if is_word(&tokens[0], "crate") || (is_word(&tokens[0], "rekeyd") && at == ["main"]) {
        return Some((Vec::new(), 3));
    }
    let mut up = 0;
    while tokens.get(3 * up).is_some_and(|token| is_word(token, "super")) && is_colons(&tokens[3 * up + 1..])
    {
        up += 1;
    }
    (up > 0).then(|| (at[..at.len().saturating_sub(up)].to_vec(), 3 * up))
}

/// Follows a path to each of its ends; answers what comes after it.
fn branches<'t>(
    tokens: &'t [TokenTree],
    mut path: Vec<String>,
    line: usize,
    found: &mut Vec<Import>,
) -> &'t [TokenTree] {
    let mut rest = tokens;
    while let Some((token, after)) = rest.split_first() {
        match token {
            TokenTree::Ident(name) => path.push(name.to_string()),
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                for branch in inner_of(group).split(|token| is_punct(token, ',')) {
                    branches(branch, path.clone(), line, found);
                }
                return after;
            }
            _ => break,
        }
        rest = after;
        if !is_colons(rest) {
            break;
        }
        rest = &rest[2..];
    }
    if rest.len() < tokens.len() {
        found.push(Import { line, path });
    }
    rest
}
