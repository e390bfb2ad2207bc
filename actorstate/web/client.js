// The browser's half of actorstate. It keeps a copy of the state that the server sends, shows it
// through the bindings in the page (see ui/render.py for their attributes), and sends events.
// The frames are those of docs/protocol.md; what expressions mean is said in
// state/expressions.py, and "Values" below does as it is written there.
//
// In the order in which the data comes by: values, expressions, patches, bindings, rows, fields,
// events and their pace, forms, what the person is told, connection, effects. Nothing here makes
// code or markup from data: state reaches the page through textContent, setAttribute, properties
// and the CSSOM only.
(() => {
  "use strict";

  // ---- Values: Python's rules wherever JavaScript has others ----------------------------------

  // What raises in Python throws here; the binding then shows None, and the console says why.

  // bool is a number in Python: True == 1, and True + 1 is 2.
  const isNumber = (value) => typeof value === "number" || typeof value === "boolean";
  const isText = (value) => typeof value === "string";
  const isList = Array.isArray;
  const isDict = (value) => typeof value === "object" && value !== null && !isList(value);

  function pythonType(value) {
    if (value === null) return "None";
    if (isList(value)) return "list";
    return { boolean: "bool", number: "number", string: "str" }[typeof value] ?? "dict";
  }

  function isTrue(value) {
    if (isList(value)) return value.length > 0;
    if (isDict(value)) return Object.keys(value).length > 0;
    return value !== null && value !== false && value !== 0 && value !== "";
  }

  function isEqual(a, b) {
    if (isNumber(a) && isNumber(b)) return Number(a) === Number(b);
    if (isList(a) && isList(b)) {
      return a.length === b.length && a.every((item, index) => isEqual(item, b[index]));
    }
    if (isDict(a) && isDict(b)) {
      const keys = Object.keys(a);
      return keys.length === Object.keys(b).length
        && keys.every((key) => Object.hasOwn(b, key) && isEqual(a[key], b[key]));
    }
    return a === b;
  }

  // Negative, zero or positive as a is less than, equal to or greater than b; NaN if none of them.
  function order(a, b) {
    if (isNumber(a) && isNumber(b)) return a < b ? -1 : a > b ? 1 : isEqual(a, b) ? 0 : NaN;
    if (isText(a) && isText(b)) return orderItems([...a], [...b], orderCharacters);
    if (isList(a) && isList(b)) return orderItems(a, b, order);
    throw new Error(`${pythonType(a)} and ${pythonType(b)} have no order`);
  }

  function orderItems(a, b, orderTwo) {
    for (let index = 0; index < Math.min(a.length, b.length); index += 1) {
      if (!isEqual(a[index], b[index])) return orderTwo(a[index], b[index]);
    }
    return a.length - b.length;
  }

  // By code point. JavaScript's own < compares UTF-16 units and puts U+1F600 before U+FF5E.
  const orderCharacters = (a, b) => a.codePointAt(0) - b.codePointAt(0);

  // What Python's str makes of a value.
  const textOf = (value) => (isText(value) ? value : representation(value));

  // What a page shows of it.
  const shownText = (value) => (value === null ? "" : textOf(value));

  function representation(value) {
    if (value === null) return "None";
    if (isText(value)) return quoted(value);
    if (typeof value === "boolean") return value ? "True" : "False";
    if (typeof value === "number") return numberText(value);
    if (isList(value)) return `[${value.map(representation).join(", ")}]`;
    const entries = Object.entries(value);
    return `{${entries.map((entry) => entry.map(representation).join(": ")).join(", ")}}`;
  }

  const FIRST_EXPONENT = 1e16;

  // Python and JavaScript find the same digits, but write an exponent at other places.
  function numberText(number) {
    if (!Number.isFinite(number)) return String(number).toLowerCase().replace("infinity", "inf");
    const size = Math.abs(number);
    if (size === 0 || (size >= 1e-4 && size < FIRST_EXPONENT)) return String(number);
    // Python has at least two digits there.
    return number.toExponential().replace(/e[+-](?=\d$)/, (sign) => `${sign}0`);
  }

  // What Python escapes: all that is no sign on paper, but for the blank.
  const UNPRINTABLE = /[\p{C}\p{Z}]/gu;
  const ESCAPES = new Map([["\n", "\\n"], ["\r", "\\r"], ["\t", "\\t"], [" ", " "]]);

  function quoted(text) {
    const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
    const safe = text.replaceAll("\\", "\\\\").replaceAll(UNPRINTABLE, escaped);
    return quote + (quote === "'" ? safe.replaceAll("'", "\\'") : safe) + quote;
  }

  function escaped(character) {
    const code = character.codePointAt(0);
    const [letter, digits] = code < 0x100 ? ["x", 2] : code < 0x10000 ? ["u", 4] : ["U", 8];
    return ESCAPES.get(character) ?? `\\${letter}${code.toString(16).padStart(digits, "0")}`;
  }

  function numbers(operator, compute) {
    return (a, b) => {
      if (isNumber(a) && isNumber(b)) return compute(Number(a), Number(b));
      throw new Error(`${pythonType(a)} ${operator} ${pythonType(b)} is not defined`);
    };
  }

  const addNumbers = numbers("+", (a, b) => a + b);
  const multiplyNumbers = numbers("*", (a, b) => a * b);

  function add(a, b) {
    if (isText(a) || isText(b)) return textOf(a) + textOf(b);
    return isList(a) && isList(b) ? [...a, ...b] : addNumbers(a, b);
  }

  function multiply(a, b) {
    if ((isText(b) || isList(b)) && isNumber(a)) return multiply(b, a);
    const isRepeat = isNumber(b) && Number.isInteger(Number(b));
    const times = Math.max(0, Number(b));
    if (isRepeat && isText(a)) return a.repeat(times);
    if (isRepeat && isList(a)) return new Array(times).fill(a).flat();
    return multiplyNumbers(a, b);
  }

  function checkDivisor(divisor) {
    if (divisor === 0) throw new Error("division by zero");
  }

  function divide(a, b) {
    checkDivisor(b);
    return a / b;
  }

  // The sign of the divisor, where JavaScript's % has that of the dividend.
  function modulo(a, b) {
    checkDivisor(b);
    const rest = a % b;
    return rest !== 0 && rest < 0 !== b < 0 ? rest + b : rest;
  }

  // Through the rest, as Python does: Math.floor(1 / 0.1) is 10, but 1 // 0.1 is 9. The quotient is
  // all but whole, and may be a little below the number that it stands for.
  function floorDivide(a, b) {
    checkDivisor(b);
    const rest = a % b;
    const quotient = (a - rest) / b - (rest !== 0 && rest < 0 !== b < 0 ? 1 : 0);
    const floor = Math.floor(quotient);
    return quotient - floor > 0.5 ? floor + 1 : floor;
  }

  // ---- Values: parts of lists, texts and dicts ------------------------------------------------

  // Python counts code points where JavaScript counts UTF-16 units.
  function itemsOf(value) {
    if (isText(value)) return [...value];
    if (isList(value)) return value;
    throw new Error(`${pythonType(value)} is no list and no text`);
  }

  function integer(value) {
    if (isNumber(value) && Number.isInteger(Number(value))) return Number(value);
    throw new Error(`${representation(value)} is no whole number`);
  }

  // JSON has turned the keys of a dict into text, so 3 looks up "3". Gives the key that there is.
  function findKey(dict, key) {
    if (isList(key) || isDict(key)) throw new Error(`${pythonType(key)} cannot be a key`);
    return keyTexts(key).find((one) => Object.hasOwn(dict, one));
  }

  function keyTexts(key) {
    if (!isNumber(key)) return [String(key)];
    const number = Number(key);
    return [numberText(number), ...(number === 0 || number === 1 ? [String(number === 1)] : [])];
  }

  function getItem(value, key) {
    if (isDict(value)) {
      const found = findKey(value, key);
      if (found === undefined) throw new Error(`there is no key ${representation(key)}`);
      return value[found];
    }
    const items = itemsOf(value);
    const index = integer(key) < 0 ? integer(key) + items.length : integer(key);
    if (index < 0 || index >= items.length) throw new Error(`there is no item ${integer(key)}`);
    return items[index];
  }

  function slice(value, start, stop, step) {
    const items = itemsOf(value);
    const stride = step === null ? 1 : integer(step);
    if (stride === 0) throw new Error("the step of a slice is zero");
    // Where the walk may begin and end: one further on the side to which it goes.
    const [low, high] = stride > 0 ? [0, items.length] : [-1, items.length - 1];
    const bound = (given, otherwise) => {
      if (given === null) return otherwise;
      const place = integer(given) < 0 ? integer(given) + items.length : integer(given);
      return Math.min(Math.max(place, low), high);
    };
    const end = bound(stop, stride > 0 ? high : low);
    const chosen = [];
    for (let place = bound(start, stride > 0 ? low : high);
      stride > 0 ? place < end : place > end; place += stride) chosen.push(items[place]);
    return isText(value) ? chosen.join("") : chosen;
  }

  const lengthOf = (value) => (isDict(value) ? Object.keys(value) : itemsOf(value)).length;

  function contains(value, item) {
    if (isDict(value)) return findKey(value, item) !== undefined;
    if (isText(value)) return value.includes(checkText(item));
    return itemsOf(value).some((one) => isEqual(one, item));
  }

  // ---- Values: text ---------------------------------------------------------------------------

  function checkText(value) {
    if (isText(value)) return value;
    throw new Error(`${representation(value)} is no text`);
  }

  // Python's white space: JavaScript's has U+FEFF, and not U+001C to U+001F and U+0085.
  const BLANK = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680"
    + "\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
  const BLANK_ENDS = new RegExp(`^[${BLANK}]+|[${BLANK}]+$`, "g");
  const WORD = new RegExp(`[^${BLANK}]+`, "g");

  function split(value, separator) {
    if (separator === null) return checkText(value).match(WORD) ?? [];
    if (separator === "") throw new Error("the separator is empty");
    return checkText(value).split(checkText(separator));
  }

  const join = (value, separator) => itemsOf(value).map(checkText).join(checkText(separator));

  // What state/expressions.py lets through: 0W or a comma, then d, .Nf or .N%; or a comma alone.
  const FORMAT_SPEC = /^(?:0(?<width>\d+)|(?<comma>,))?(?:\.(?<decimals>\d+))?(?<kind>[df%]?)$/;

  function format(value, spec) {
    if (!isNumber(value)) throw new Error(`${pythonType(value)} cannot be formatted by ${spec}`);
    const { width, comma, decimals, kind } = FORMAT_SPEC.exec(spec).groups;
    const unsigned = formatDigits(Math.abs(Number(value)), kind, Number(decimals));
    const grouped = comma === undefined ? unsigned
      : unsigned.replace(/^\d+/, (digits) => digits.replaceAll(/\B(?=(\d{3})+$)/g, ","));
    const sign = Number(value) < 0 ? "-" : "";
    return sign + grouped.padStart(Number(width ?? 0) - sign.length, "0");
  }

  function formatDigits(number, kind, decimals) {
    if (kind === "%") return `${fixed(number * 100, decimals)}%`;
    if (kind === "f") return fixed(number, decimals);
    return numberText(kind === "d" ? integer(number) : number);
  }

  // toFixed looks at the exact binary value, as Python does, but rounds what lies in the middle up
  // and not to the even side. In the middle lies only what ends after that many binary digits.
  function fixed(number, decimals) {
    if (!Number.isFinite(number)) return numberText(number);
    if (number >= 1e21) return BigInt(number) + (decimals > 0 ? `.${"0".repeat(decimals)}` : "");
    const oneMore = number.toFixed(decimals + 1);
    const isInTheMiddle = oneMore.endsWith("5") && Number.isInteger(number * 2 ** (decimals + 1));
    const isEven = /[02468]\.?5$/.test(oneMore);
    return isInTheMiddle && isEven ? oneMore.replace(/\.?5$/, "") : number.toFixed(decimals);
  }

  const OPERATORS = new Map([
    ["not", (a) => !isTrue(a)],
    ["neg", (a) => numbers("-", (zero, number) => zero - number)(0, a)],
    ["+", add],
    ["-", numbers("-", (a, b) => a - b)],
    ["*", multiply],
    ["/", numbers("/", divide)],
    ["//", numbers("//", floorDivide)],
    ["%", numbers("%", modulo)],
    ["==", isEqual],
    ["!=", (a, b) => !isEqual(a, b)],
    ["<", (a, b) => order(a, b) < 0],
    ["<=", (a, b) => order(a, b) <= 0],
    [">", (a, b) => order(a, b) > 0],
    [">=", (a, b) => order(a, b) >= 0],
    ["get", getItem],
    ["slice", slice],
    ["length", lengthOf],
    ["contains", contains],
    ["lower", (a) => checkText(a).toLowerCase()],
    ["upper", (a) => checkText(a).toUpperCase()],
    ["strip", (a) => checkText(a).replaceAll(BLANK_ENDS, "")],
    ["split", split],
    ["join", join],
    ["format", format],
    ["text", (...parts) => parts.map(textOf).join("")],
  ]);

  // ---- Expressions ----------------------------------------------------------------------------

  // The copy of the server's state. version is null until a welcome has brought it.
  // The history is what the server calls the row of versions in which it stands.
  const tab = { state: {}, version: null, history: null };

  // What names mean where an expression stands: in a row of a foreach, its item and its index, and
  // around it the rows in which that foreach stands, and the state around all.
  class Scope {
    constructor(parent, locals) {
      this.parent = parent;
      this.locals = locals;
      this.bindingsOfLocal = new Map();
    }

    get state() {
      return this.parent.state;
    }

    ownerOf(name) {
      return this.locals.has(name) ? this : this.parent.ownerOf(name);
    }
  }

  const NOWHERE = { ownerOf: (name) => { throw new Error(`there is no local ${name}`); } };
  const noLocals = (getState) => Object.create(NOWHERE, { state: { get: getState } });
  const pageScope = noLocals(() => tab.state);

  function evaluate([form, ...operands], scope) {
    if (form === "lit") return operands[0];
    if (form === "var") return readVar(scope.state, ...operands);
    if (form === "local") return scope.ownerOf(operands[0]).locals.get(operands[0]);
    // These three look only at the operands they need, as in Python.
    if (form === "cond") {
      return evaluate(operands[isTrue(evaluate(operands[0], scope)) ? 1 : 2], scope);
    }
    if (form === "and" || form === "or") {
      const first = evaluate(operands[0], scope);
      return isTrue(first) === (form === "and") ? evaluate(operands[1], scope) : first;
    }
    if (form === "show") return operands.map((one) => shownText(valueOrNone(one, scope))).join("");
    const operator = OPERATORS.get(form);
    if (operator === undefined) throw new Error(`there is no expression ${JSON.stringify(form)}`);
    return operator(...operands.map((operand) => evaluate(operand, scope)));
  }

  function valueOrNone(expression, scope) {
    try {
      return evaluate(expression, scope);
    } catch (error) {
      console.warn(`actorstate: ${error.message}, in`, JSON.stringify(expression));
      return null;
    }
  }

  function readVar(states, state, name) {
    const vars = Object.hasOwn(states, state) ? states[state] : {};
    if (!Object.hasOwn(vars, name)) throw new Error(`the server sent no var ${state}.${name}`);
    return vars[name];
  }

  // No name of a state or var has a slash in it, so this is one key for one var.
  const varKey = (state, name) => `${state}/${name}`;

  // Gives what an expression depends on: the keys of vars, and the names of locals.
  function dependencies([form, ...operands]) {
    if (form === "lit") return { vars: [], locals: [] };
    if (form === "var") return { vars: [varKey(...operands)], locals: [] };
    if (form === "local") return { vars: [], locals: operands };
    const all = operands.map((operand) => dependencies(operand));
    return { vars: all.flatMap(({ vars }) => vars), locals: all.flatMap(({ locals }) => locals) };
  }

  // ---- Patches: RFC 6902 ----------------------------------------------------------------------

  const pathOf = (pointer) =>
    pointer.split("/").slice(1).map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~"));

  const LIST_INDEX = /^(0|[1-9][0-9]*)$/;

  function childOf(container, key) {
    const has = isList(container) ? LIST_INDEX.test(key) : isDict(container);
    if (!has || !Object.hasOwn(container, key)) {
      throw new Error(`the patch names ${JSON.stringify(key)}, which is not there`);
    }
    return container[key];
  }

  const valueAt = (root, pointer) => pathOf(pointer).reduce(childOf, root);

  // Gives [container, key] for the last step of a pointer. The root is looked at through a holder,
  // so that replacing the whole document is no special case.
  //
  // What lies on the way is copied, once in a patch, and nothing is changed in place. So what is
  // the same object as before has not changed, which is how the rows of a foreach know.
  function placeAt(holder, pointer) {
    const path = ["root", ...pathOf(pointer)];
    const key = path.pop();
    return [path.reduce((container, step) => ownChildOf(holder, container, step), holder), key];
  }

  function ownChildOf(holder, container, key) {
    const child = childOf(container, key);
    if (holder.copies.has(child) || typeof child !== "object" || child === null) return child;
    const copy = isList(child) ? [...child] : { ...child };
    holder.copies.add(copy);
    setEntry(container, key, copy);
    return copy;
  }

  // Not by assignment: to assign to "__proto__", which a dict may well have as a key, would give
  // the object another prototype instead of an entry.
  function setEntry(container, key, value) {
    Object.defineProperty(container, key, {
      value, writable: true, enumerable: true, configurable: true,
    });
  }

  function insert(holder, pointer, value) {
    const [container, key] = placeAt(holder, pointer);
    if (!isList(container)) return setEntry(container, key, value);
    const index = key === "-" ? container.length : LIST_INDEX.test(key) ? Number(key) : Infinity;
    if (index > container.length) throw new Error(`the patch names ${pointer}, which is no place`);
    container.splice(index, 0, value);
  }

  function remove(holder, pointer) {
    const [container, key] = placeAt(holder, pointer);
    const old = childOf(container, key);
    if (isList(container)) container.splice(Number(key), 1);
    else delete container[key];
    return old;
  }

  function replace(holder, pointer, value) {
    const [container, key] = placeAt(holder, pointer);
    childOf(container, key);
    setEntry(container, key, value);
  }

  function checkEqual(holder, pointer, value) {
    if (!isEqual(valueAt(holder.root, pointer), value)) throw new Error(`test fails at ${pointer}`);
  }

  const OPERATIONS = new Map([
    ["add", (holder, { path, value }) => insert(holder, path, value)],
    ["remove", (holder, { path }) => remove(holder, path)],
    ["replace", (holder, { path, value }) => replace(holder, path, value)],
    ["move", (holder, { path, from }) => insert(holder, path, remove(holder, from))],
    ["copy", (holder, { path, from }) =>
      insert(holder, path, structuredClone(valueAt(holder.root, from)))],
    ["test", (holder, { path, value }) => checkEqual(holder, path, value)],
  ]);

  // Applies the operations and gives the pointers that they changed. Throws when one does not
  // apply; then the state is of no use, and the caller asks for the whole of it.
  function applyPatch(operations) {
    const holder = { root: tab.state, copies: new Set() };
    for (const operation of operations) {
      const apply = OPERATIONS.get(operation.op);
      if (apply === undefined) throw new Error(`there is no operation ${operation.op}`);
      apply(holder, operation);
    }
    tab.state = holder.root;
    return operations.flatMap(({ path, from }) => (from === undefined ? [path] : [path, from]));
  }

  // ---- Nodes ----------------------------------------------------------------------------------

  // A field hides what its form has under the name of the field: where there is a field "contains",
  // form.contains is that field. So whatever may be a form is asked by the methods of the
  // prototypes. (Its elements, too: see elementsOf.)
  const method = (prototype, name) => {
    const plain = prototype[name];
    return (node, ...args) => Reflect.apply(plain, node, args);
  };
  const getter = (prototype, name) => (node) => Reflect.get(prototype, name, node);

  const own = {
    contains: method(Node.prototype, "contains"),
    getAttribute: method(Element.prototype, "getAttribute"),
    hasAttribute: method(Element.prototype, "hasAttribute"),
    matches: method(Element.prototype, "matches"),
    nextSibling: getter(Node.prototype, "nextSibling"),
    parentElement: getter(Node.prototype, "parentElement"),
    remove: (node) =>
      Reflect.apply((node instanceof Element ? Element : CharacterData).prototype.remove, node, []),
    removeAttribute: method(Element.prototype, "removeAttribute"),
    setAttribute: method(Element.prototype, "setAttribute"),
    style: (node) =>
      Reflect.get((node instanceof HTMLElement ? HTMLElement : SVGElement).prototype, "style", node),
  };

  // ---- Bindings -------------------------------------------------------------------------------

  // From each var to the bindings that depend on it, so that a patch costs what it touches.
  const bindingsOfVar = new Map();
  const allBindings = new Set();

  function addToSetOf(map, key, value) {
    if (!map.has(key)) map.set(key, new Set());
    map.get(key).add(value);
  }

  // Read once for all rows of a foreach, whose bindings are the same text.
  const readTexts = new Map();

  function read(node, attribute) {
    const text = own.getAttribute(node, attribute);
    if (!readTexts.has(text)) readTexts.set(text, JSON.parse(text));
    return readTexts.get(text);
  }

  const knownDependencies = new WeakMap();

  function dependenciesOf(expression) {
    if (!knownDependencies.has(expression)) {
      const { vars, locals } = dependencies(expression);
      knownDependencies.set(expression, { vars: new Set(vars), locals: new Set(locals) });
    }
    return knownDependencies.get(expression);
  }

  let lastNumber = 0;

  class Binding {
    constructor(expression, scope, show) {
      lastNumber += 1;
      this.number = lastNumber;
      this.expression = expression;
      this.scope = scope;
      this.show = show;
      this.isLive = true;
      this.register();
      this.update();
    }

    register() {
      const { vars, locals } = dependenciesOf(this.expression);
      allBindings.add(this);
      this.waitsForState = vars.size > 0;
      // Each of these sets of bindings, by its key, in the map that has it.
      this.places = [...vars].map((key) => [bindingsOfVar, key]);
      for (const name of locals) {
        this.places.push([this.scope.ownerOf(name).bindingsOfLocal, name]);
      }
      for (const [map, key] of this.places) addToSetOf(map, key, this);
    }

    // A binding may be dropped by another one, of a block, while both wait to be updated.
    update() {
      if (!this.isLive || (tab.version === null && this.waitsForState)) return;
      this.show(valueOrNone(this.expression, this.scope));
    }

    drop() {
      this.isLive = false;
      allBindings.delete(this);
      for (const [map, key] of this.places) {
        const bindings = map.get(key);
        bindings.delete(this);
        if (bindings.size === 0) map.delete(key);
      }
    }
  }

  // In the order in which they were made: a block before what stands in it, so that nothing is
  // computed for rows that are about to go.
  function updateInOrder(bindings) {
    for (const binding of [...bindings].sort((a, b) => a.number - b.number)) binding.update();
  }

  function updateAll() {
    updateInOrder(allBindings);
  }

  function updateChanged(pointers) {
    const changed = new Set();
    for (const pointer of pointers) {
      const [state, name] = pathOf(pointer);
      if (name === undefined) return updateAll();
      for (const binding of bindingsOfVar.get(varKey(state, name)) ?? []) changed.add(binding);
    }
    updateInOrder(changed);
  }

  // Where the elements with handlers stand that stand in rows.
  const scopes = new WeakMap();
  const scopeOf = (node) => scopes.get(node) ?? pageScope;

  // Gives life to everything bound below root, and gives it back as a list of things to drop.
  function mount(root, scope) {
    const mounted = [];
    // Found before blocks put their content here: that is mounted on its own.
    const [texts, styled, conditionals, lists, attributed, handling] =
      ["text", "style", "cond", "foreach", "attrs", "on"]
        .map((name) => root.querySelectorAll(`[data-as-${name}]`));
    const bind = (expression, show) => {
      const binding = new Binding(expression, scope, show);
      mounted.push(binding);
      return binding;
    };
    if (scope !== pageScope) for (const node of handling) scopes.set(node, scope);
    for (const node of texts) {
      bind(read(node, "data-as-text"), (value) => showText(node, value));
    }
    for (const node of styled) {
      for (const [name, expression] of Object.entries(read(node, "data-as-style"))) {
        bind(expression, styleSetter(node, name));
      }
    }
    // Before attributes, so that a select has its options when its value is set.
    for (const template of conditionals) mounted.push(mountConditional(template, scope));
    for (const template of lists) mounted.push(new Rows(template, scope));
    for (const node of attributed) {
      // What a field shows comes last: its type and limits decide what it can show.
      const entries = Object.entries(read(node, "data-as-attrs"));
      const isShown = ([name]) => Number(isFieldProperty(node, name));
      for (const [name, expression] of entries.sort((a, b) => isShown(a) - isShown(b))) {
        const binding = bind(expression, attributeSetter(node, name));
        if (isFieldProperty(node, name)) addToSetOf(bindingsOfField, node, binding);
      }
      if (own.matches(node, "select")) followOptions(node);
    }
    return mounted;
  }

  function drop(mounted) {
    for (const one of mounted) one.drop();
  }

  // Writing equal text again would still lose what the person has selected.
  function showText(node, value) {
    const shown = shownText(value);
    if (node.textContent !== shown) node.textContent = shown;
  }

  // Compared with what was set, as a browser gives styles back in words of its own.
  function styleSetter(node, name) {
    let last = null;
    return (value) => {
      if (shownText(value) === last) return;
      last = shownText(value);
      own.style(node).setProperty(name, last);
    };
  }

  // A choice forgets its value while it has no such option, and with new options shows the first.
  function showChoiceAgain(template) {
    const field = template.parentNode?.closest?.("select");
    for (const binding of bindingsOfField.get(field) ?? []) binding.update();
  }

  // The chosen branch stands between the template and an end mark. What nested conditionals put
  // there lies between the same two, so taking out a branch takes out theirs.
  function mountConditional(template, scope) {
    const [whenTrue, whenFalse] = template.content.children;
    const end = document.createComment("");
    template.after(end);
    let chosen = null;
    let mounted = [];
    const binding = new Binding(read(template, "data-as-cond"), scope, (value) => {
      const branch = isTrue(value) ? whenTrue : whenFalse;
      if (branch === chosen) return;
      chosen = branch;
      drop(mounted);
      while (template.nextSibling !== end) own.remove(template.nextSibling);
      const copy = document.importNode(branch.content, true);
      mounted = mount(copy, scope);
      end.before(copy);
      showChoiceAgain(template);
    });
    return { drop: () => drop([binding, ...mounted]) };
  }

  // ---- Rows -----------------------------------------------------------------------------------

  // One copy of what a foreach repeats, with the item and the index in its scope. Its nodes are
  // those from the first to the last: neither ever goes, as what a block puts into the page stands
  // between two nodes of its own.
  class Row {
    constructor(template, scope) {
      this.scope = scope;
      const content = document.importNode(template.content, true);
      if (!content.hasChildNodes()) content.append(document.createComment(""));
      this.mounted = mount(content, scope);
      this.first = content.firstChild;
      this.last = content.lastChild;
    }

    // A browser that can move keeps what taking out and putting in again would lose, such as how
    // far something was scrolled. What is not in the page yet cannot be moved.
    putBefore(next) {
      const parent = next.parentNode;
      const canMove = parent.moveBefore !== undefined && this.first.isConnected;
      const put = canMove ? "moveBefore" : "insertBefore";
      for (const node of [...this.nodes()]) parent[put](node, next);
    }

    * nodes() {
      for (let node = this.first; node !== this.last; node = own.nextSibling(node)) yield node;
      yield this.last;
    }

    holds(target) {
      return target !== null && [...this.nodes()].some((node) => own.contains(node, target));
    }

    set(name, value) {
      const { locals, bindingsOfLocal } = this.scope;
      const isShown = bindingsOfLocal.has(name) && !isSame(locals.get(name), value);
      locals.set(name, value);
      if (isShown) updateInOrder(bindingsOfLocal.get(name));
    }

    drop() {
      drop(this.mounted);
    }

    remove() {
      this.drop();
      for (const node of [...this.nodes()]) own.remove(node);
    }
  }

  // The same JSON: unlike to Python's ==, 1 and true are two, and the order of a dict counts.
  function isSame(a, b) {
    if (a === b) return true;
    if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
    if (isList(a) || isList(b)) {
      return isList(a) && isList(b) && a.length === b.length
        && a.every((item, index) => isSame(item, b[index]));
    }
    const [keys, others] = [Object.keys(a), Object.keys(b)];
    return keys.length === others.length
      && keys.every((key, index) => key === others[index] && isSame(a[key], b[key]));
  }

  function rowItems(value) {
    if (isList(value)) return value;
    if (isDict(value)) return Object.entries(value);
    if (value !== null) console.warn(`actorstate: ${pythonType(value)} has no items to show`);
    return [];
  }

  // The rows of one foreach, between its template and an end mark.
  class Rows {
    constructor(template, scope) {
      this.template = template;
      this.scope = scope;
      this.spec = read(template, "data-as-foreach");
      this.rows = [];
      this.end = document.createComment("");
      template.after(this.end);
      this.binding = new Binding(this.spec.items, scope, (value) => {
        this.show(rowItems(value), this.spec.key !== null || isDict(value));
        showChoiceAgain(template);
      });
    }

    // Rows at the start and at the end whose items are the same are not looked at again. Between
    // them, each item takes the row that has its key, or else its position.
    show(items, isKeyed) {
      const [start, kept] = this.unchangedEnds(items, isKeyed);
      const old = this.rows.slice(start, this.rows.length - kept);
      const after = this.rows.slice(this.rows.length - kept);
      const find = isKeyed ? this.finderByKey(old) : (item, index) => old[index - start];
      const found = items.slice(start, items.length - kept).map((item, n) => find(item, start + n));
      const taken = new Set(found);
      for (const row of old) if (!taken.has(row)) row.remove();
      const between = found.map((row, n) => row ?? this.makeRow(items[start + n], start + n));
      place(between, old, after.length > 0 ? after[0].first : this.end);
      this.rows = [...this.rows.slice(0, start), ...between, ...after];
      this.rows.forEach((row, index) => {
        row.set(this.spec.item, items[index]);
        row.set(this.spec.index, index);
      });
    }

    unchangedEnds(items, isKeyed) {
      const { rows } = this;
      const isUnchanged = (row, item) => isSame(row.scope.locals.get(this.spec.item), item);
      const most = Math.min(rows.length, items.length);
      let start = 0;
      while (start < most && isUnchanged(rows[start], items[start])) start += 1;
      let kept = 0;
      // Without keys, what follows an item that has gone moves up by one row.
      while (isKeyed && kept < most - start
        && isUnchanged(rows.at(-1 - kept), items.at(-1 - kept))) kept += 1;
      return [start, kept];
    }

    // Gives a function from an item and its index to the old row that has its key, if any.
    finderByKey(old) {
      const [oldKey, newKey] = [this.keyReader(), this.keyReader()];
      const byKey = new Map(old.map((row) => {
        const { locals } = row.scope;
        return [oldKey(locals.get(this.spec.item), locals.get(this.spec.index)), row];
      }));
      return (item, index) => byKey.get(newKey(item, index));
    }

    // The second row with a key is another one than the first.
    keyReader() {
      const counts = new Map();
      return (item, index) => {
        const key = JSON.stringify(this.keyOf(item, index));
        counts.set(key, (counts.get(key) ?? 0) + 1);
        if (counts.get(key) === 2) console.warn(`actorstate: two rows have the key ${key}`);
        return `${counts.get(key)} ${key}`;
      };
    }

    keyOf(item, index) {
      const { spec } = this;
      if (spec.key === null) return item?.[0]; // a dict has a key for each item
      return valueOrNone(spec.key, rowScope(this.scope, spec, item, index));
    }

    makeRow(item, index) {
      return new Row(this.template, rowScope(this.scope, this.spec, item, index));
    }

    drop() {
      drop([this.binding, ...this.rows]);
    }
  }

  const rowScope = (parent, spec, item, index) =>
    new Scope(parent, new Map([[spec.item, item], [spec.index, index]]));

  // Puts the rows in their order before next. As few as can be are moved, and never the one that
  // has the focus, which it would lose.
  function place(rows, old, next) {
    const oldIndex = new Map(old.map((row, index) => [row, index]));
    const focused = rows.find((row) => oldIndex.has(row) && row.holds(document.activeElement));
    const staying = longestRise(rows.filter((row) => oldIndex.has(row)), oldIndex, focused);
    for (const row of [...rows].reverse()) {
      if (!staying.has(row)) row.putBefore(next);
      next = row.first;
    }
  }

  // Gives the largest set of rows that are in the order of their old indexes, among those sets
  // that have one row in them. In tails, the best last row for each length of such a set.
  function longestRise(rows, oldIndex, fixed) {
    const here = rows.indexOf(fixed);
    const fits = (row, n) => fixed === undefined || row === fixed
      || n < here === oldIndex.get(row) < oldIndex.get(fixed);
    const tails = [];
    const before = new Map();
    for (const row of rows.filter(fits)) {
      let [low, high] = [0, tails.length];
      while (low < high) {
        const middle = (low + high) >> 1;
        if (oldIndex.get(tails[middle]) < oldIndex.get(row)) low = middle + 1;
        else high = middle;
      }
      before.set(row, tails[low - 1]);
      tails[low] = row;
    }
    const rise = new Set();
    for (let row = tails.at(-1); row !== undefined; row = before.get(row)) rise.add(row);
    return rise;
  }

  // ---- Attributes and fields ------------------------------------------------------------------

  const WORDED_BOOLEANS = new Set(["contenteditable", "draggable", "spellcheck"]);
  const URL_ATTRIBUTES = new Set(
    ["action", "background", "cite", "data", "formaction", "href", "ping", "poster", "src"]);

  const hasWordedBooleans = (name) =>
    WORDED_BOOLEANS.has(name) || name.startsWith("aria-") || name.startsWith("data-");

  // What a field shows is its property; the attribute is only what it showed at first.
  const isFieldProperty = (node, name) =>
    (name === "value" && own.matches(node, "input, select, textarea"))
    || (name === "checked" && own.matches(node, "input"));

  function attributeSetter(node, name) {
    if (isFieldProperty(node, name)) {
      return (value) => { if (!isBeingEdited(node)) showProperty(node, name, value); };
    }
    return (value) => {
      setAttribute(node, name, value);
      // A value that the limits did not allow may fit now.
      if (own.matches(node, "input")) showAgain(node);
    };
  }

  function showProperty(field, name, value) {
    if (name === "checked") field.checked = isTrue(value);
    else if (field.type === "select-multiple") showChosen(field, isList(value) ? value : [value]);
    else showInField(field, shownText(value));
  }

  function showChosen(field, values) {
    const chosen = new Set(values.map(shownText));
    for (const option of field.options) option.selected = chosen.has(option.value);
  }

  // An option that comes later, or gets another value, may be the one that the state has chosen.
  function followOptions(field) {
    const changes = { childList: true, subtree: true, attributeFilter: ["value"] };
    new MutationObserver(() => showAgain(field)).observe(field, changes);
  }

  function setAttribute(node, name, value) {
    const isSwitch = typeof value === "boolean" && !hasWordedBooleans(name);
    if (value === null || (isSwitch && !value)) return own.removeAttribute(node, name);
    // The words of HTML, not of Python.
    const text = isSwitch ? "" : typeof value === "boolean" ? String(value) : textOf(value);
    if (URL_ATTRIBUTES.has(name) && !isSafeUrl(name, text)) {
      console.warn(`actorstate: a URL was refused for ${name}:`, text);
      return own.removeAttribute(node, name);
    }
    if (own.getAttribute(node, name) !== text) own.setAttribute(node, name, text);
  }

  // The policy of the page would not run these either; but it is not ours to rely on alone.
  function isSafeUrl(name, text) {
    if (!URL.canParse(text, location.href)) return true;
    const url = new URL(text, location.href);
    if (url.protocol === "data:") {
      return (name === "src" || name === "poster") && url.pathname.startsWith("image/");
    }
    return url.protocol !== "javascript:" && url.protocol !== "vbscript:";
  }

  // Another value would take the caret to the end, and unselect what the person is about to type
  // over: the first keystroke would then be added to a value that it should have replaced.
  function showInField(node, text) {
    if (node.value === text) return;
    const isActive = document.activeElement === node;
    const { selectionStart, selectionEnd, selectionDirection } = node;
    const hasSelection = isActive && String(document.getSelection()) !== "";
    node.value = text;
    if (!isActive) return;
    // A field for numbers does not say where its caret is, nor a choice, which has none.
    if (typeof selectionStart === "number") {
      node.setSelectionRange(selectionStart, selectionEnd, selectionDirection);
    } else if (hasSelection && node.matches("input")) node.select();
  }

  // A field that a person edits belongs to the person: from the first keystroke until the server
  // has acknowledged the event that carries the edit, no patch writes to it. Otherwise a patch
  // made before the server knew of the edit (a background task makes many) would undo it under
  // the person's hands. After that the field shows the state again, whatever a handler made of
  // the edit. Leaving a field gives up what was typed but will not be sent.
  const edits = new Map(); // field -> {isUnsent, seq of the last event that carried its value}
  const bindingsOfField = new WeakMap(); // field -> the bindings of its value or checked

  function isBeingEdited(field) {
    return groupOf(field).some((one) => {
      const edit = edits.get(one);
      return edit !== undefined && (edit.isUnsent || edit.seq > events.ack);
    });
  }

  // Of radio buttons, to choose one is to change another, so they are edited together.
  function groupOf(field) {
    if (field.type !== "radio" || field.name === "") return [field];
    return [...field.getRootNode().querySelectorAll("input[type=radio]")]
      .filter(({ name, form }) => name === field.name && form === field.form);
  }

  function noteEdit(field) {
    edits.set(field, { seq: 0, ...edits.get(field), isUnsent: true });
  }

  function giveBack(field) {
    if (isBeingEdited(field) && field.isConnected) return;
    edits.delete(field);
    groupOf(field).forEach(showAgain);
  }

  // Shows what the state says, unless the field is being edited.
  function showAgain(field) {
    for (const binding of bindingsOfField.get(field) ?? []) binding.update();
  }

  // What the server refused stays in the field, for the person to mend, as long as it has focus
  // or is part of a form.
  function keepRefusedEdit(seq) {
    for (const [field, edit] of [...edits]) {
      if (edit.seq !== seq) continue;
      edit.seq = 0; // settled, though perhaps no acknowledgement says so
      if (document.activeElement === field || isSentByForm(field)) edit.isUnsent = true;
      giveBack(field);
    }
  }

  function leaveField({ target }) {
    // Still the active element: the window lost focus, the person has not left the field.
    if (!edits.has(target) || document.activeElement === target || isSentByForm(target)) return;
    edits.get(target).isUnsent = false;
    giveBack(target);
  }

  // ---- Events ---------------------------------------------------------------------------------

  // Events wait here, in order, until the server acknowledges them. After a reconnect all that
  // wait are sent again; the server skips those it has done, by their numbers.
  const events = { lastSeq: 0, ack: 0, waiting: [] };

  function sendEvent(name, args) {
    events.lastSeq += 1;
    const frame = JSON.stringify({ t: "event", seq: events.lastSeq, name, args });
    events.waiting.push({ seq: events.lastSeq, frame });
    if (link.isWelcomed) link.socket.send(frame);
    return events.lastSeq;
  }

  function settle(ack) {
    if (!(ack > events.ack)) return;
    events.ack = ack;
    events.waiting = events.waiting.filter(({ seq }) => seq > ack);
    resetDone();
    for (const field of [...edits.keys()]) giveBack(field);
  }

  function valueOf(field) {
    if (field.type === "checkbox") return field.checked;
    if (field.type === "range") return field.valueAsNumber;
    if (field.type === "select-multiple") return [...field.selectedOptions].map((one) => one.value);
    return field.value;
  }

  function sentValue({ type, target, key, submitter }) {
    if (type === "keydown") return key;
    return type === "submit" ? fieldsOf(target, submitter) : valueOf(target);
  }

  // The events that bring what the person did with a field to the server.
  const isEdit = ({ type }) => type === "input" || type === "change" || type === "focusout";

  // One listener on the document for each kind of event: elements come and go with conditionals.
  function dispatch(domEvent) {
    const { type, target, relatedTarget = null } = domEvent;
    for (let node = target; node instanceof Element; node = own.parentElement(node)) {
      if (!own.hasAttribute(node, "data-as-on") || own.matches(node, ":disabled")) continue;
      if (own.contains(node, relatedTarget)) continue; // the focus moves within it
      const handler = read(node, "data-as-on")[type];
      if (handler !== undefined) trigger(handler, node, domEvent);
    }
  }

  // Everything is computed now: when it is sent later, the element may be gone.
  function trigger(handler, node, domEvent) {
    const { name, args } = handler;
    const { type, target } = domEvent;
    const isValue = (argument) => dependenciesOf(argument).locals.has("event");
    const sendsValue = Object.values(args).some(isValue);
    const locals = new Map([["event", sendsValue ? sentValue(domEvent) : null]]);
    const values = argumentValues(args, new Scope(scopeOf(node), locals));
    sendInTime(handler, node, domEvent, () => {
      const seq = sendEvent(name, values);
      if (type === "submit") noteSubmit(seq, target);
      else if (sendsValue && isEdit(domEvent)) edits.set(target, { seq, isUnsent: false });
    });
  }

  // Arguments are a list, or an object by parameter name.
  function argumentValues(args, scope) {
    if (isList(args)) return args.map((argument) => valueOrNone(argument, scope));
    const named = Object.entries(args).map(([name, one]) => [name, valueOrNone(one, scope)]);
    return Object.fromEntries(named);
  }

  function listen() {
    for (const type of ["click", "change", "keydown", "focusin"]) {
      document.addEventListener(type, (domEvent) => {
        if (!domEvent.isComposing) dispatch(domEvent);
      });
    }
    document.addEventListener("input", (domEvent) => {
      noteEdit(domEvent.target);
      // What an input method shows while composing is not yet text.
      if (!domEvent.isComposing) dispatch(domEvent);
    });
    document.addEventListener("compositionend", ({ target }) => {
      if (edits.get(target)?.isUnsent) dispatch({ type: "input", target });
    });
    document.addEventListener("focusout", (domEvent) => {
      sendPostponed(({ target }) => target === domEvent.target);
      dispatch(domEvent);
      leaveField(domEvent);
    });
    // Not keydown, which comes before the change that it makes; nor change, which a slider makes at
    // each key, so that a pace would be none.
    document.addEventListener("keyup", ({ key, target: field }) => {
      const isSettled = key === "Enter" && field instanceof HTMLInputElement;
      if (isSettled) sendPostponed(({ target }) => target === field);
    });
    document.addEventListener("keydown", submitAtEnter);
    document.addEventListener("submit", submit);
    // The event comes before what it tells of.
    document.addEventListener("reset", ({ target }) => setTimeout(() => showForm(target)));
  }

  // ---- The pace of events ---------------------------------------------------------------------

  // Debounced and throttled events that wait, in the order in which they were made:
  // {node, type, target, timer, send}. Nothing overtakes them: before anything else is sent, all
  // that waits is, so the server sees what the person did in the order in which it was done. One
  // whose element has gone meanwhile is sent all the same; it may carry what was typed.
  let postponed = [];

  // When an event was last sent, by element and by type.
  const sentAt = new WeakMap();

  function sendInTime({ debounce, throttle }, node, domEvent, send) {
    const { type, target } = domEvent;
    const now = performance.now();
    const silence = debounce === undefined ? now : now + debounce;
    const due = throttle === undefined ? silence
      : Math.max(silence, (sentAt.get(node)?.[type] ?? -Infinity) + throttle);
    // The last state of a field is never dropped, only what came before it.
    if (due > now && debounce === undefined && !isEdit(domEvent)) return;
    forgetPostponed((one) => one.node === node && one.type === type && one.target === target);
    const event = { node, type, target, send, timer: null };
    if (due > now) event.timer = setTimeout(() => sendPostponed((one) => one === event), due - now);
    postponed.push(event);
    if (due <= now) sendPostponed((one) => one === event);
  }

  function forgetPostponed(isMeant) {
    for (const event of postponed.filter(isMeant)) clearTimeout(event.timer);
    postponed = postponed.filter((event) => !isMeant(event));
  }

  // Sends those that are meant, and all that were made before them.
  function sendPostponed(isMeant) {
    const ready = postponed.slice(0, postponed.findLastIndex(isMeant) + 1);
    postponed = postponed.slice(ready.length);
    for (const { node, type, timer, send } of ready) {
      clearTimeout(timer);
      sentAt.set(node, { ...sentAt.get(node), [type]: performance.now() });
      send();
    }
  }

  // ---- Forms ----------------------------------------------------------------------------------

  // Forms that go back to their first values when an event is done, by its number.
  const resets = new Map();

  // Not form.elements: a field of that name would hide it.
  const elementsOf = (form) => Reflect.get(HTMLFormElement.prototype, "elements", form);

  const isSubmitHandled = (form) =>
    own.hasAttribute(form, "data-as-on") && read(form, "data-as-on").submit !== undefined;

  const isSentByForm = ({ form, name }) => Boolean(form && name) && isSubmitHandled(form);

  function submit(domEvent) {
    const form = domEvent.target;
    // A form that does not say where to go would load the page again.
    const goesNowhere = !own.hasAttribute(form, "action")
      && own.getAttribute(form, "method") !== "dialog";
    if (isSubmitHandled(form) || goesNowhere) domEvent.preventDefault();
    dispatch(domEvent);
  }

  const TYPED_TYPES = new Set([
    "date", "datetime-local", "email", "month", "number", "password", "search", "tel", "text",
    "time", "url", "week",
  ]);

  const isTypedInto = (field) => field instanceof HTMLInputElement && TYPED_TYPES.has(field.type);

  // A browser submits at Enter only a form with a button for it, or without another field to type
  // in. Who writes on_submit means every form.
  function submitAtEnter(domEvent) {
    const { key, target, isComposing, defaultPrevented } = domEvent;
    if (key !== "Enter" || isComposing || defaultPrevented || !isTypedInto(target)) return;
    if (target.form === null || !isSubmitHandled(target.form)) return;
    const fields = [...elementsOf(target.form)];
    const hasButton = fields.some(({ type }) => type === "submit" || type === "image");
    if (hasButton || fields.filter(isTypedInto).length < 2) return;
    domEvent.preventDefault();
    HTMLFormElement.prototype.requestSubmit.call(target.form);
  }

  function noteSubmit(seq, form) {
    for (const field of elementsOf(form)) {
      if (edits.has(field)) edits.set(field, { seq, isUnsent: false });
    }
    if (own.hasAttribute(form, "data-as-reset")) resets.set(seq, form);
  }

  // By name, what a handler of the form gets. What is disabled is not sent, nor is a button, except
  // for the one that submits.
  function fieldsOf(form, submitter) {
    const fields = new Map();
    for (const field of elementsOf(form)) {
      const isSent = field.name && !field.matches(":disabled, button, fieldset, object, output");
      if (isSent && !BUTTON_TYPES.has(field.type)) addField(fields, field);
    }
    if (submitter?.name) fields.set(submitter.name, submitter.value);
    return Object.fromEntries(fields);
  }

  const BUTTON_TYPES = new Set(["button", "image", "reset", "submit"]);

  function addField(fields, field) {
    const { name, type, value } = field;
    const others = fields.get(name);
    if (type === "file") {
      console.warn("actorstate: files are not sent with a form:", name);
    } else if (type === "radio") {
      fields.set(name, field.checked ? value : others ?? null);
    } else if (type === "checkbox" && field.hasAttribute("value")) {
      fields.set(name, [...(others ?? []), ...(field.checked ? [value] : [])]);
    } else {
      const one = type === "range" ? value : valueOf(field);
      fields.set(name, others === undefined ? one : [others, one].flat());
    }
  }

  // After a reset, what the state says comes before what the page said at first.
  function showForm(form) {
    for (const field of elementsOf(form)) {
      forgetPostponed(({ target }) => target === field);
      edits.delete(field);
    }
    for (const field of elementsOf(form)) showAgain(field);
  }

  function resetDone() {
    for (const [seq, form] of resets) {
      if (seq > events.ack) continue;
      resets.delete(seq);
      // What the person has begun to write since then is not ours to clear.
      const isInUse = [...elementsOf(form)].some(isBeingEdited);
      if (!isInUse) HTMLFormElement.prototype.reset.call(form);
    }
  }

  // ---- What the person is told ----------------------------------------------------------------

  const TOAST_MS = 8000;
  const MAX_TOASTS = 4;
  const MARK_AFTER_MS = 300; // a blink of the network is not worth a word

  function toast(message) {
    const area = document.getElementById("as-toasts");
    // The same message again takes the place of the first, so that it does not fill the screen.
    [...area.children].find((one) => one.textContent === message)?.remove();
    const note = document.createElement("div");
    note.className = "as-toast";
    note.textContent = message;
    note.addEventListener("click", () => note.remove());
    area.append(note);
    if (area.children.length > MAX_TOASTS) area.firstChild.remove();
    setTimeout(() => note.remove(), TOAST_MS);
  }

  let markTimer = null;

  function showMarkSoon() {
    markTimer ??= setTimeout(() => { mark().hidden = false; }, MARK_AFTER_MS);
  }

  function hideMark() {
    clearTimeout(markTimer);
    markTimer = null;
    mark().hidden = true;
  }

  function showStopped(message) {
    clearTimeout(markTimer);
    mark().textContent = message;
    mark().classList.add("as-stopped");
    mark().hidden = false;
  }

  const mark = () => document.getElementById("as-mark");

  // ---- Connection -----------------------------------------------------------------------------

  const PROTOCOL = "actorstate.v1";
  const FIRST_DELAY_MS = 200;
  const MAX_DELAY_MS = 5000;
  const RETURN_MS = 1000; // within so long all browsers of a server that went away come back
  const SILENCE_MS = 60000; // how long a server may say nothing, until it says itself how long
  const OPEN_TIMEOUT_MS = 10000; // a server behind a dead route answers nothing, for minutes
  const STEADY_MS = 5000; // a connection that held so long ends the row of failures
  const TOKEN_KEY = "actorstate.token";

  const FINAL = new Map([
    [4001, "This page is open in another place, which has taken over. Reload to continue here."],
    [4002, "This page and its server do not speak the same protocol. Reload to try again."],
  ]);
  const GOING_AWAY = 1001;
  const TOO_LARGE = 1009;

  // One load of the page: the server counts its events from 1. Not crypto.randomUUID, which is
  // missing where the page came over plain http from another machine.
  const instance = [...crypto.getRandomValues(new Uint8Array(16))]
    .map((byte) => byte.toString(16).padStart(2, "0")).join("");

  const link = {
    socket: null, isWelcomed: false, isStopped: false, failures: 0, timer: null, steadyTimer: null,
    silence: SILENCE_MS, silenceTimer: null,
    // So that the server tells a late hello, which the network has held back, from the latest.
    nth: 0,
  };

  // sessionStorage is this tab's own and survives a reload. Where it is forbidden, a reload
  // begins anew.
  let token = null;

  function loadToken() {
    try {
      token = sessionStorage.getItem(TOKEN_KEY);
    } catch {
      console.warn("actorstate: without sessionStorage, a reload loses this tab's state");
    }
  }

  function keepToken(given) {
    token = given;
    try {
      sessionStorage.setItem(TOKEN_KEY, given);
    } catch {
      // Said in loadToken already.
    }
  }

  // The server did not mint it: its store is another one now, or somebody wrote it here. What the
  // page shows is of no tab any more, and the welcome replaces it.
  function beginAnew() {
    token = null;
    tab.version = null;
    try {
      sessionStorage.removeItem(TOKEN_KEY);
    } catch {
      // Then it was never kept there.
    }
    sayHello(link.socket);
  }

  function connect() {
    clearTimeout(link.timer);
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/_actorstate/ws`, PROTOCOL);
    link.socket = socket;
    link.nth += 1;
    link.timer = setTimeout(abandon, OPEN_TIMEOUT_MS);
    socket.addEventListener("open", () => sayHello(socket));
    // A socket that was abandoned may speak until it has closed; nobody listens to it.
    const isOurs = () => link.socket === socket;
    socket.addEventListener("message", ({ data }) => { if (isOurs()) receive(data); });
    socket.addEventListener("close", ({ code }) => { if (isOurs()) lose(code); });
  }

  function sayHello(socket) {
    if (link.socket !== socket) return;
    clearTimeout(link.timer);
    awaitSign();
    const path = location.pathname + location.search;
    const { version, history } = tab;
    const { nth } = link;
    socket.send(JSON.stringify({ t: "hello", token, instance, nth, version, history, path }));
  }

  // A line may be dead at the far end, and no socket says so. The server sends a ping at the latest
  // when it has said nothing else for a while, so from one that is there something is heard.
  function awaitSign() {
    clearTimeout(link.silenceTimer);
    if (link.silence !== null) link.silenceTimer = setTimeout(abandon, link.silence);
  }

  // Closing takes as long as the other side takes to answer, so we do not wait for it.
  function abandon() {
    const { socket } = link;
    if (socket === null) return;
    lose(null);
    socket.close();
  }

  function forgetSocket() {
    link.socket = null;
    link.isWelcomed = false;
    clearTimeout(link.timer);
    clearTimeout(link.steadyTimer);
    clearTimeout(link.silenceTimer);
  }

  function lose(code) {
    forgetSocket();
    if (FINAL.has(code)) return stop(FINAL.get(code));
    if (code === TOO_LARGE) giveUpLargestEvent();
    showMarkSoon();
    link.timer = setTimeout(connect, delayAfter(code));
    link.failures += 1;
  }

  // Jitter: when a server restarts, its browsers should not all come back in one moment. One that
  // goes away sends them all away in one moment, too, and is replaced by then; so all of the time
  // is for chance.
  function delayAfter(code) {
    const most = Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** link.failures);
    if (code === GOING_AWAY) return Math.random() * Math.max(most, RETURN_MS);
    return most * (0.5 + Math.random() / 2);
  }

  // So that whoever has the tab next, a reload mostly, is not taken for a second one beside it. A
  // page without a socket may be kept by the browser, as it is, and come back by its back button.
  function leave() {
    const { socket } = link;
    clearTimeout(link.timer);
    if (socket === null) return;
    forgetSocket();
    socket.close();
  }

  function stop(message) {
    link.isStopped = true;
    showStopped(message);
  }

  // Sent again, it would end every connection. The server says the same of a frame that it could
  // still read; this one it could not.
  function giveUpLargestEvent() {
    const size = ({ frame }) => frame.length;
    const largest = Math.max(...events.waiting.map(size));
    events.waiting = events.waiting.filter((event) => size(event) < largest);
    toast("What was sent is too large for the server.");
  }

  function reconnectNow() {
    if (link.isStopped || link.socket !== null) return;
    link.failures = 0;
    connect();
  }

  function resynchronise(reason) {
    console.warn("actorstate: asking for the whole state again:", reason);
    tab.version = null;
    abandon();
  }

  const FRAMES = new Map([
    ["welcome", welcome], ["patch", patch], ["ack", ({ ack }) => settle(ack)],
    ["error", showError], ["effect", performEffect], ["ping", answerPing],
  ]);

  function receive(data) {
    awaitSign();
    const frame = JSON.parse(data);
    const handle = FRAMES.get(frame.t);
    if (handle === undefined) console.warn("actorstate: unknown frame", frame);
    else handle(frame);
  }

  function welcome(frame) {
    keepToken(frame.token);
    // Without a state it stands on what the page shows, and a patch brings it up to date.
    const isResumed = frame.state === undefined;
    if (isResumed && (frame.version !== tab.version || frame.history !== tab.history)) {
      return resynchronise("the server takes this page for another");
    }
    if (!isResumed) tab.state = frame.state;
    tab.version = frame.version;
    tab.history = frame.history ?? null;
    link.silence = typeof frame.ping === "number" ? frame.ping * 1000 : null;
    awaitSign();
    link.isWelcomed = true;
    link.steadyTimer = setTimeout(() => { link.failures = 0; }, STEADY_MS);
    hideMark();
    if (!isResumed) updateAll();
    settle(frame.ack);
    for (const event of events.waiting) link.socket.send(event.frame);
  }

  function answerPing() {
    link.socket.send('{"t":"pong"}');
  }

  // What several turns changed may come as one; base says to which version it applies.
  function patch({ version, base = version - 1, ack, ops }) {
    if (tab.version === null || base !== tab.version) {
      return resynchronise(`a patch of version ${base} came after ${tab.version}`);
    }
    let changed;
    try {
      changed = applyPatch(ops);
    } catch (error) {
      return resynchronise(error.message);
    }
    tab.version = version;
    updateChanged(changed);
    settle(ack);
  }

  // An error about an event settles it: it comes to nothing, acknowledged or not.
  function showError({ seq, code, message, where }) {
    if (code === "bad_token") return beginAnew();
    console.warn("actorstate:", code, message, where ?? "");
    if (code === "too_large") return; // it is given up when the server closes, which is next
    events.waiting = events.waiting.filter((event) => event.seq !== seq);
    keepRefusedEdit(seq);
    resets.delete(seq);
    toast(message);
  }

  // ---- Effects: what a handler asks the browser to do -----------------------------------------

  const DOWNLOAD_MS = 60000; // how long the browser may take to begin with what it is given

  const EFFECTS = new Map([
    ["redirect", redirect],
    ["download", download],
    ["set_focus", ({ id }) => elementOf(id).focus()],
    ["set_value", ({ id, value }) => setValue(elementOf(id), value)],
    ["scroll_to", ({ id }) => elementOf(id).scrollIntoView()], // smooth, if the page's CSS says so
    ["copy_to_clipboard", copyToClipboard],
    ["console_log", ({ value }) => console.log(value)],
  ]);

  // An effect that comes to nothing is said in the console. The page goes on.
  async function performEffect({ name, args }) {
    try {
      const perform = EFFECTS.get(name);
      if (perform === undefined) throw new Error("this page knows no such effect");
      await perform(args);
    } catch (error) {
      console.warn(`actorstate: effect ${name}: ${error.message}`);
    }
  }

  function elementOf(id) {
    const element = document.getElementById(id);
    if (element === null) throw new Error(`there is no element with the id ${JSON.stringify(id)}`);
    return element;
  }

  function webUrl(text) {
    const url = new URL(text, location.href);
    if (url.protocol === "http:" || url.protocol === "https:") return url;
    throw new Error(`refused, because it is no web address: ${text}`);
  }

  function redirect({ to, new_tab: isNewTab }) {
    const url = webUrl(to);
    if (isNewTab) window.open(url, "_blank", "noopener");
    else location.assign(url);
  }

  function download({ filename, url, data, media_type: type }) {
    if (data === undefined) return saveAs(filename, webUrl(url));
    const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
    const own = URL.createObjectURL(new Blob([bytes], { type }));
    saveAs(filename, new URL(own));
    setTimeout(() => URL.revokeObjectURL(own), DOWNLOAD_MS);
  }

  function saveAs(filename, url) {
    const link = document.createElement("a");
    link.href = url;
    link.download = filename;
    // Of another site, a browser opens what it should save; then not in place of this page.
    if (url.origin !== location.origin) link.target = "_blank";
    link.rel = "noopener";
    link.click();
  }

  // What the program sets counts as shown by it: the person's edit is over, sent or not.
  function setValue(field, value) {
    if (!field.matches("input, select, textarea")) throw new Error("it is no field");
    forgetPostponed(({ target }) => target === field);
    edits.delete(field);
    const isTicked = field.type === "checkbox" || field.type === "radio";
    showProperty(field, isTicked ? "checked" : "value", value);
  }

  function copyToClipboard({ text }) {
    if (navigator.clipboard === undefined) throw new Error("a browser copies on https pages only");
    return navigator.clipboard.writeText(text);
  }

  // ---- Start ----------------------------------------------------------------------------------

  addEventListener("online", reconnectNow);
  // Without this, a connection that the network has lost stays open for minutes.
  addEventListener("offline", abandon);
  addEventListener("pageshow", reconnectNow);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) sendPostponed(() => true);
    else reconnectNow();
  });
  addEventListener("pagehide", () => {
    sendPostponed(() => true);
    leave();
  });

  // For tests and the console: to look at, not to change.
  Object.defineProperty(window, "actorstate", {
    value: Object.freeze({
      get state() { return structuredClone(tab.state); },
      get version() { return tab.version; },
      get connected() { return link.isWelcomed; },
      get pending() { return postponed.length + events.waiting.length; },
      get bindings() { return allBindings.size; },
      // In a state of one's own, by the full names of states, or in that of the page.
      evaluate: (expression, state = tab.state) =>
        structuredClone(evaluate(expression, noLocals(() => state))),
    }),
  });

  listen();
  mount(document, pageScope);
  loadToken();
  showMarkSoon();
  connect();
})();
