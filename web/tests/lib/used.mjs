/**
 * What package and page use of a browser, as TypeScript's checker sees it: every property, method, constructor and global that the
 * standard's declarations have, looked up in MDN's data. What that data has under another name (mixins, methods of typed arrays) is left
 * out, as is what the code only uses where it is there (`a.b?.()`).
 */
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import ts from 'typescript';
import { folder } from './folder.mjs';

export const mdn = createRequire(import.meta.url)('@mdn/browser-compat-data');

const PROJECTS = ['web/package', 'web/package/src/worker', 'web/page'];

/** The names of a type and of all that it inherits from. */
function lineage(checker, type, names = []) {
  if (type.isUnionOrIntersection()) {
    for (const one of type.types) lineage(checker, one, names);
  } else if (type.symbol && !names.includes(type.symbol.name)) {
    names.push(type.symbol.name);
    if (type.isClassOrInterface()) for (const base of checker.getBaseTypes(type)) lineage(checker, base, names);
  }
  return names;
}

/** MDN's entry of a standard name, and what it is called there; `owners`: interfaces that may have it, null for a global. */
function entryOf(name, owners) {
  for (const owner of owners ?? [name]) {
    const type = owner.replace(/Constructor$/, '');
    const found = owners
      ? { [`${type}.${name}`]: mdn.api[type]?.[name] ?? mdn.api[type]?.[`${name}_static`] ?? mdn.javascript.builtins[type]?.[name] }
      : { [name]: mdn.api[name] ?? mdn.javascript.builtins[name] };
    for (const [path, entry] of Object.entries(found)) if (entry?.__compat) return { path, compat: entry.__compat };
  }
  return null;
}

/** The standard's name that an identifier is used for; null for a name of our own, and in types, which are gone when it runs. */
function standard(checker, node) {
  const symbol = checker.getSymbolAtLocation(node);
  const [declaration] = symbol?.declarations ?? [];
  if (!declaration || !/\/lib\.[^/]*\.d\.ts$/.test(declaration.getSourceFile().fileName) || ts.isPartOfTypeNode(node)) return null;
  const access = ts.isPropertyAccessExpression(node.parent) && node.parent.name === node ? node.parent : null;
  const { parent } = declaration;
  // Static members are declared as those of a global.
  const holder = ts.isTypeLiteralNode(parent) && ts.isVariableDeclaration(parent.parent) ? parent.parent : ts.isInterfaceDeclaration(parent) ? parent : null;
  const own = holder ? [holder.name.text] : null;
  const owners = own && access ? lineage(checker, checker.getApparentType(checker.getTypeAtLocation(access.expression)), own) : own;
  const asked = access !== null && access.parent.expression === access && access.parent.questionDotToken !== undefined;
  return asked ? null : entryOf(symbol.name, owners);
}

/** MDN's entries of all that is used without asking whether it is there, by name. */
export function used() {
  const found = new Map();
  for (const project of PROJECTS) {
    const host = { ...ts.sys, onUnRecoverableConfigFileDiagnostic: (problem) => assert.fail(problem.messageText) };
    const { fileNames, options } = ts.getParsedCommandLineOfConfigFile(folder(`${project}/tsconfig.json`), {}, host);
    const program = ts.createProgram(fileNames, options);
    const checker = program.getTypeChecker();
    const visit = (node) => {
      const entry = ts.isIdentifier(node) && standard(checker, node);
      if (entry) found.set(entry.path, entry.compat);
      ts.forEachChild(node, visit);
    };
    for (const file of program.getSourceFiles()) if (!file.isDeclarationFile) visit(file);
  }
  return found;
}
