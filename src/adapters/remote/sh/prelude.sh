# Opens every script: the locale that our parsers read, a PATH that has the administration tools (pct exec and sudo may hand
# over a poorer one; what is there already keeps its precedence), and how answers are written.
#
# An answer is made of lines `@key value`, each followed by any number of lines `|text` that belong to it; whatever a program
# prints is put behind `|`, so that no output can pass for one of our keys.
set -u
LC_ALL=C
PATH="${PATH:-}${PATH:+:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
export LC_ALL PATH

# Prints a line `@key value`.
say() {
    printf '@%s %s\n' "$1" "${2-}"
}

# Copies stdin, each line behind `|`; a last line without its newline gets one.
quoted() {
    tr -d '\000' | sed 's/^/|/'
    echo
}
