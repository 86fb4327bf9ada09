/** Writes the package's reference, web/package/API.md, from its types and their comments: node web/reference.mjs. A test keeps it fresh. */
import { readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const PACKAGE = join(dirname(fileURLToPath(import.meta.url)), 'package');

const BEGIN = `# Reference

All that the package exports. The [README](README.md) has the examples and what belongs together. Calls that fail reject with a
\`GuidedDiffusionError\`, or with their signal's reason. In tables, an option with \`?\` may be left out.
`;

const parse = (file) => ts.createSourceFile(file, readFileSync(join(PACKAGE, 'src', file), 'utf8'), ts.ScriptTarget.Latest, true);

/** The declarations that a module exports, in order, by its `export` statements. */
function exported(file) {
  const source = parse(file);
  const named = new Map(source.statements.flatMap((statement) => namesOf(statement).map((name) => [name, statement])));
  return source.statements.flatMap((statement) => {
    if (!ts.isExportDeclaration(statement)) return isExported(statement) ? [statement] : [];
    const from = posix.join(posix.dirname(file), statement.moduleSpecifier.text).replace(/\.js$/, '.ts');
    const there = exported(from);
    if (!statement.exportClause) return there;
    return statement.exportClause.elements.map(({ name }) => there.find((one) => namesOf(one).includes(name.text)) ?? named.get(name.text));
  });
}

const isExported = (node) => node.modifiers?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword) ?? false;
const namesOf = (node) => (node.declarationList?.declarations ?? [node]).flatMap(({ name }) => (name ? [name.text] : []));

/** A node's comment, on one line. */
const about = (node) => line(ts.getJSDocCommentsAndTags(node).map(({ comment }) => ts.getTextOfJSDocComment(comment) ?? '').join(' '));
const line = (text) => text.replace(/\s+/g, ' ').trim();
/** Code on one line, without its comments. */
const code = (node) => line(node.getText().replace(/\/\*.*?\*\//gs, '').replace(/\/\/.*$/gm, ''));
const cell = (text) => text.replaceAll('|', '\\|');

/** What is called, without its body. */
function signature({ name, parameters, type }, as = name.getText()) {
  return `${as}(${parameters.map(code).join(', ')})${type ? `: ${code(type)}` : ''}`;
}

function member(node) {
  const isStatic = node.modifiers?.some(({ kind }) => kind === ts.SyntaxKind.StaticKeyword) ? 'static ' : '';
  const name = node.name.getText().replace('[asyncDispose]', '[Symbol.asyncDispose]');
  if (ts.isMethodDeclaration(node) || ts.isMethodSignature(node)) return ['', `${isStatic}${signature(node, name)}`];
  return [`${name}${node.questionToken ? '?' : ''}`, node.type ? code(node.type) : ''];
}

function hidden({ name, modifiers }) {
  return !name || ts.isPrivateIdentifier(name) || modifiers?.some(({ kind }) => kind === ts.SyntaxKind.PrivateKeyword);
}

/** Members of a class (what its constructor makes public, too), an interface or an object type. */
function table(members) {
  const all = members.flatMap((node) => (ts.isConstructorDeclaration(node) ? node.parameters.filter(({ modifiers }) => modifiers) : [node]));
  const rows = all.filter((node) => !hidden(node) && !ts.isClassStaticBlockDeclaration(node)).map((node) => {
    const [name, type] = member(node);
    return `| ${cell([name, type].filter(Boolean).map((text) => `\`${text}\``).join(': '))} | ${cell(about(node))} |`;
  });
  return rows.length ? ['| | |', '|---|---|', ...rows].join('\n') : '';
}

function section(node) {
  const [name] = namesOf(node);
  const parts = [`## ${name}`, about(node)];
  if (ts.isFunctionDeclaration(node)) parts.splice(1, 0, `\`${signature(node)}\``);
  else if (ts.isTypeAliasDeclaration(node) && ts.isTypeLiteralNode(node.type)) parts.push(table(node.type.members));
  else if (ts.isTypeAliasDeclaration(node)) parts.push(`\`\`\`ts\n${node.getText().replace(/^export /, '')}\n\`\`\``);
  else if (ts.isVariableStatement(node)) {
    const [{ type, initializer }] = node.declarationList.declarations;
    if (type) parts.splice(1, 0, `\`${name}: ${code(type)}\``);
    const rows = initializer.expression?.elements ?? [];
    if (rows.length) parts.push(rows.map((row) => `- \`${code(row).replace(/^\{ | \}$/g, '')}\``).join('\n'));
  } else {
    const above = node.heritageClauses?.map(code).join(' ');
    if (above) parts.splice(1, 0, `\`${name} ${above}\``);
    parts.push(table(node.members));
  }
  return parts.filter(Boolean).join('\n\n');
}

export const reference = () => `${[BEGIN.trim(), ...exported('index.ts').map(section)].join('\n\n')}\n`;

if (realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) writeFileSync(join(PACKAGE, 'API.md'), reference());
