"""Random templates with Jinja2's answers, a line of JSON each: {"template", "ok" | "error"}.

    python test/golden/jinja_fuzz.py SEED COUNT

bun test/jinja-fuzz.ts runs this and compares.
"""

import json
import random
import sys
import warnings

import jinja_reference

warnings.simplefilter("ignore")

VARIABLES = list(jinja_reference.CONTEXT) + ["missing", "x", "y"]
TEXTS = ["''", "'a'", "'b c'", "' pad '", "'x,y,,z'", "'é'", "'😀a'", "'a\\nb'", "\"it's\"", "'<b>&'", "'%s %d'", "'{} {}'",
         "'12'", "'-3.5'", "'ABC def'", "'aXbXc'", "'ß'", "'ǆ'", "'\\t\\u2028'", "'role'", "'k'", "'0x1f'", "'1_0'", "'a.b'"]
NUMBERS = ["0", "1", "2", "-1", "3", "10", "0.5", "1.0", "-2.5", "1e3", "1e-7", "1e20", "100000000000000000000", "7"]
WORDS = ["'role'", "'content'", "'k'", "'v'", "'a'", "'b'", "'items'", "'n'", "0", "1", "-1", "'args.x'"]
FILTERS = ["abs", "batch(2)", "batch(2, 'z')", "capitalize", "center(9)", "count", "default('D')", "d('D', true)", "dictsort",
           "dictsort(true)", "dictsort(by='value')", "escape", "filesizeformat", "first", "float", "float(1.5)", "forceescape",
           "groupby('k')", "groupby('k', default='q')", "indent", "indent(2, true)", "indent('> ', blank=true)", "int", "int(5)", "int(base=16)",
           "items", "join", "join(', ')", "join('-', attribute='k')", "last", "length", "list", "lower", "map('upper')",
           "map('length')", "map(attribute='k')", "map(attribute='k', default='q')", "max", "min", "max(attribute='v')", "pprint",
           "reject('odd')", "rejectattr('k')", "replace('a', 'b')", "replace('', '-', 2)", "reverse", "round", "round(1)", "round(1, 'floor')",
           "round(-1)", "safe", "select", "select('string')", "select('in', [1, 'a'])", "selectattr('k', 'eq', 'x')", "selectattr('k', 'defined')", "slice(2)",
           "slice(3, 'f')", "sort", "sort(reverse=true)", "sort(attribute='v')", "sort(case_sensitive=true)", "string", "striptags", "sum", "sum(start=1)", "sum(attribute='v')",
           "title", "tojson", "tojson(indent=2)", "tojson(sort_keys=true)", "tojson(ensure_ascii=true)", "tojson(separators=(',', ':'))", "trim", "trim('a ')", "truncate(5)", "truncate(5, true, '')", "unique",
           "unique(attribute='k')", "upper", "urlencode", "wordcount", "wordwrap(4)", "xmlattr", "format(1)", "format('x', 2)", "attr('upper')", "unknown_filter"]
TESTS = ["boolean", "callable", "defined", "divisibleby(3)", "divisibleby 2", "eq(1)", "equalto 'a'", "escaped", "even", "false", "filter", "float", "ge(1)",
         "gt 1", "in [1, 'a']", "in 'abc'", "integer", "iterable", "le(2)", "lower", "lt(2)", "mapping", "ne 1", "none", "number", "odd", "sameas none",
         "sequence", "string", "test", "true", "undefined", "upper", "unknown_test"]
METHODS = ["strip()", "strip(' a')", "lstrip()", "rstrip('!')", "split()", "split(',')", "split(' ', 1)", "split(none, 1)", "split('')", "rsplit(',', 1)", "rsplit(none, 1)", "splitlines()",
           "splitlines(true)", "join(['a', 'b'])", "join(words)", "upper()", "lower()", "title()", "capitalize()", "swapcase()", "casefold()", "startswith('a')",
           "startswith(('x', 'a'))", "endswith('c')", "find('b')", "rfind('a')", "index('b')", "count('a')", "replace('a', 'bb')", "replace('a', '', 1)", "isdigit()",
           "isalpha()", "isalnum()", "isspace()", "isupper()", "islower()", "istitle()", "isnumeric()", "isidentifier()", "zfill(6)", "center(9, '*')", "ljust(6)", "rjust(6, '0')",
           "partition(',')", "rpartition(' ')", "removeprefix('a')", "removesuffix('c')", "expandtabs()", "expandtabs(3)", "format(1, 'b')", "format(n, x=2)", "encode", "keys()", "values()", "items()", "items",
           "get('a')", "get('zz', 3)", "copy()", "index(1)", "count(1)", "append(1)", "pop()", "update({})", "sort()", "__class__", "nope", "nope.deeper", "0", "role", "real", "find('b', 1)", "find('', 9)", "count('', 1, 2)"]
FORMATS = ["'{:>6}'", "'{:^7}'", "'{:06.2f}'", "'{:,}'", "'{:x}'", "'{!r}'", "'{0} {0}'", "'{:+d}'", "'{:e}'", "'{:g}'", "'{:.2}'", "'{:%}'", "'{:b}'", "'{:_}'", "'{:*<5}'", "'{0[0]}'", "'{{}}{}'"]
PERCENTS = ["'%s'", "'%d'", "'%5.1f|'", "'%-6s|'", "'%06d'", "'%x'", "'%r'", "'%e'", "'%g'", "'%+d'", "'%%'", "'%c'", "'%.3s'", "'%(a)s'", "'% d'", "'%#x'", "'%i'"]


class Generator:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def pick(self, *options):
        return self.random.choice(options)

    def chance(self, share):
        return self.random.random() < share

    def several(self, most, depth):
        return [self.expression(depth) for _ in range(self.random.randint(0, most))]

    def atom(self):
        kind = self.random.random()
        if kind < 0.4:
            return self.random.choice(VARIABLES)
        if kind < 0.65:
            return self.random.choice(TEXTS)
        if kind < 0.85:
            return self.random.choice(NUMBERS)
        return self.pick("true", "false", "none", "[]", "{}", "()", "(1, 'a')", "loop.index", "range(3)", "[1, 2.0, 'x']")

    def expression(self, depth):
        if depth <= 0:
            return self.atom()
        inner = lambda: self.expression(depth - 1)
        kind = self.random.randrange(20)
        if kind == 0:
            return self.atom()
        if kind == 1:
            return f"[{', '.join(self.several(3, depth - 1))}]"
        if kind == 2:
            return f"({inner()}, {inner()})"
        if kind == 3:
            return "{%s}" % ", ".join(f"{self.atom()}: {inner()}" for _ in range(self.random.randint(0, 2)))
        if kind == 4:
            return f"({inner()} {self.pick('+', '-', '*', '/', '//', '%', '~', '~', '+')} {inner()})"
        if kind == 5:
            return f"({inner()} {self.pick('==', '!=', '<', '<=', '>', '>=', 'in', 'not in')} {inner()})"
        if kind == 6:
            return f"({inner()} {self.pick('<', '==', '<=')} {inner()} {self.pick('<', '!=', '>')} {inner()})"
        if kind == 7:
            return f"({inner()} {self.pick('and', 'or')} {inner()})"
        if kind == 8:
            return self.pick("not ", "-", "+", "(not ") + inner() + ")" * 0 if self.chance(0.7) else f"(not {inner()})"
        if kind == 9:
            otherwise = f" else {inner()}" if self.chance(0.7) else ""
            return f"({inner()} if {inner()}{otherwise})"
        if kind in (10, 11, 12):
            return f"{inner()}|{self.random.choice(FILTERS)}" if self.chance(0.5) else f"({inner()})|{self.random.choice(FILTERS)}"
        if kind == 13:
            return f"({inner()} is {self.pick('', 'not ')}{self.random.choice(TESTS)})"
        if kind in (14, 15):
            return f"({inner()}).{self.random.choice(METHODS)}"
        if kind == 16:
            return f"({inner()})[{self.random.choice(WORDS) if self.chance(0.6) else inner()}]"
        if kind == 17:
            part = lambda: self.pick("", "0", "1", "-1", "2", "-3", "9")
            base = self.pick("s", "wide", "l", "words", "messages", "x", *TEXTS, "[1, 2.0, 'x']", "(1, 'a', none)", "range(5)")
            return f"{base}[{part()}:{part()}{':' + self.pick('', '1', '-1', '2', '-2') if self.chance(0.4) else ''}]"
        if kind == 18:
            return f"{self.random.choice(FORMATS)}.format({inner()})"
        return f"({self.random.choice(PERCENTS)} % {inner()})"

    def tag(self, text):
        left, right = self.pick("", "", "-", "+"), self.pick("", "", "-", "+")
        return "{%" + left + " " + text + " " + right + "%}"

    def space(self):
        return self.pick("", "", " ", "\n", "  \n", "\n  ", "t", "\r\n", "a\n")

    def body(self, depth):
        return "".join(self.space() + self.statement(depth) for _ in range(self.random.randint(1, 3))) + self.space()

    def statement(self, depth):
        expression = self.expression(self.pick(1, 2, 2, 3))
        if depth <= 0:
            return "{{" + self.pick("", "-") + " " + expression + " " + self.pick("", "-") + "}}"
        inner = lambda: self.body(depth - 1)
        kind = self.random.randrange(17)
        if kind <= 4:
            return "{{ " + expression + " }}"
        if kind == 5:
            return self.tag(f"if {expression}") + inner() + (self.tag("else") + inner() if self.chance(0.5) else "") + self.tag("endif")
        if kind in (6, 7):
            target, items = self.pick(("x", expression), ("x", "l"), ("x", "messages"), ("x, y", "d.items()"), ("x", "words"), ("x, y", expression))
            where = f" if {self.expression(1)}" if self.chance(0.2) else ""
            leave = self.tag(f"if {self.expression(1)}") + self.tag(self.pick("break", "continue")) + self.tag("endif") if self.chance(0.3) else ""
            loop = "{{ loop." + self.pick("index", "index0", "first", "last", "length", "revindex", "previtem", "nextitem", "depth", "cycle('p', 'q')", "changed(x)") + " }}" if self.chance(0.5) else ""
            otherwise = self.tag("else") + inner() if self.chance(0.3) else ""
            return self.tag(f"for {target} in {items}{where}") + loop + leave + inner() + otherwise + self.tag("endfor")
        if kind == 8:
            return self.tag(f"set {self.pick('x', 'y', 'x, y', 'n')} = {expression}")
        if kind == 9:
            return self.tag("set x") + inner() + self.tag("endset") + "{{ x }}"
        if kind == 10:
            return self.tag(f"with x = {expression}, y = x") + inner() + self.tag("endwith")
        if kind == 11:
            return self.tag(f"filter {self.random.choice(FILTERS)}") + inner() + self.tag("endfilter")
        if kind == 12:
            defaults = self.pick("x, y=1", "x='q', y=x", "", "x")
            call = self.pick("m()", "m(1)", "m(1, 2)", "m(y=3, x=4)", "m(*l)", "m(**d)", "m(1, 2, 3)")
            extra = self.pick("", "", "{{ varargs }}", "{{ kwargs }}", "{{ caller() if caller }}")
            return self.tag(f"macro m({defaults})") + inner() + extra + self.tag("endmacro") + "{{ " + call + " }}"
        if kind == 13:
            return self.tag("macro m()") + "[{{ caller(1) }}]" + self.tag("endmacro") + self.tag("call(x) m()") + inner() + self.tag("endcall")
        if kind == 14:
            return self.tag("set ns = namespace(a=1)") + self.tag("for x in l") + self.tag(f"set ns.a = {self.pick('ns.a + x', expression)}") + self.tag("endfor") + "{{ ns.a }}"
        if kind == 15:
            return self.pick("{# c #}", "{#- c -#}", "{% raw %}{{ x }}{% endraw %}", "{%- raw -%} {% y %} {%- endraw -%}", "{% generation %}g{% endgeneration %}")
        return self.tag("for x in nested recursive") + "{{ loop.depth }}" + ("{{ loop(x.k) if loop.depth < 3 }}" if self.chance(0.6) else inner()) + self.tag("endfor")

    def template(self):
        return self.body(self.pick(0, 0, 1, 2))


def cases(seed, count):
    """`count` templates whose answers do not depend on the machine."""
    generator = Generator(seed)
    found = 0
    while found < count:
        template = generator.template()
        case = {"template": template, **jinja_reference.answer(template)}
        if jinja_reference.is_stable(case):
            found += 1
            yield case


if __name__ == "__main__":
    for case in cases(int(sys.argv[1]), int(sys.argv[2])):
        print(json.dumps(case))
