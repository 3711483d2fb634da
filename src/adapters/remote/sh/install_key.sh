# Adds a public key to authorized_keys of who logs in. Set before: $kind, $data and $comment of the key.
#
# What sshd wants (StrictModes, its default): the file and each directory above it up to the home directory belong to root or to
# the user, and neither group nor others may write to them. Otherwise it passes the file over without a word to the client.
umask 077
mended=

# Ends the script with an answer.
finish() {
    say "$1" "${2-}"
    say mended
    printf '%s' "$mended" | quoted
    say end
    exit 0
}

mend() {
    mended="$mended$1
"
}

# Sets $mode and $owner of a path; a link is followed.
look() {
    # shellcheck disable=SC2046 # the fields are wanted as words: mode, links, uid, gid, ...
    set -- "$1" $(ls -ldnL "$1" 2>/dev/null)
    mode=${2-} owner=${4-}
    if [ -z "$owner" ]; then
        finish failed "$1 can't be looked at"
    fi
}

# Tells whether group or others may write to what was looked at.
wide() {
    case $mode in
    ?????w* | ????????w*) return 0 ;;
    esac
    return 1
}

# Refuses what belongs to another user: sshd passes such a key over, and it is not ours to give away.
owned() {
    if [ "$owner" != 0 ] && [ "$owner" != "$(id -u)" ]; then
        finish refused "$1 belongs to uid $owner"
    fi
}

# Tries a command; where it fails the script ends with what it said.
try() {
    doing=$1
    shift
    said=$("$@" 2>&1) || finish failed "$doing: ${said:-exit status $?}"
}

# Tells by its exit status whether the key is in the file, whatever stands before and behind it: 0 it is, 3 it is not.
there() {
    awk -v kind="$kind" -v data="$data" '
    # Returns what follows the options, which end at the first blank that is not between quotes.
    function behind_options(line,    at, c, quoted) {
        for (at = 1; at <= length(line); at++) {
            c = substr(line, at, 1)
            if (c == "\\" && substr(line, at + 1, 1) == "\"") at++
            else if (c == "\"") quoted = !quoted
            else if (!quoted && (c == " " || c == "\t")) break
        }
        return substr(line, at)
    }
    function is_it(line,    words) {
        sub(/^[ \t]+/, "", line)
        split(line, words, /[ \t\r]+/)
        return words[1] == kind && words[2] == data
    }
    {
        sub(/^[ \t]+/, "")
        if (/^#/) next
        if (is_it($0) || is_it(behind_options($0))) { found = 1; exit }
    }
    END { exit found ? 0 : 3 }' <"$file"
}

known() {
    said=$(there 2>&1)
    case $? in
    0) return 0 ;;
    3) return 1 ;;
    esac
    finish failed "reading $file: $said"
}

# Adds the key behind $lead, in one piece: cat writes at once what one printf gives it, and says why where it can't.
add() {
    printf '%s%s %s%s\n' "$lead" "$kind" "$data" "${comment:+ $comment}" | cat >>"$file"
}

if [ -z "${HOME-}" ] || [ ! -d "$HOME" ]; then
    finish failed "the login has no home directory (${HOME-})"
fi
look "$HOME"
owned "$HOME"
if wide; then
    finish refused "group or others may write to the home directory $HOME ($mode)"
fi

dir=$HOME/.ssh
if [ ! -d "$dir" ]; then
    if [ -e "$dir" ] || [ -L "$dir" ]; then
        finish refused "$dir is no directory"
    fi
    # Somebody else may have made it in between.
    said=$(mkdir "$dir" 2>&1) || [ -d "$dir" ] || finish failed "making $dir: $said"
fi
look "$dir"
owned "$dir"
if wide; then
    try "taking the right to write to $dir from group and others" chmod go-w "$dir"
    mend "took the right to write to $dir from group and others ($mode)"
fi

file=$dir/authorized_keys
if [ -L "$file" ] && [ ! -e "$file" ]; then
    finish refused "$file is a link to nothing"
fi
if [ -L "$dir" ] || [ -L "$file" ]; then
    # Followed to the end: what lies there is what sshd reads, and each directory above it counts.
    { home=$(readlink -f "$HOME") && above=$(readlink -f "$dir"); } || finish failed "following the links of $file"
    if [ -L "$file" ]; then
        file=$(readlink -f "$file") || finish failed "following the links of $file"
        above=${file%/*}
    else
        file=$above/authorized_keys
    fi
    while [ -n "$above" ] && [ "$above" != "$home" ]; do
        look "$above"
        owned "$above"
        if wide; then
            finish refused "group or others may write to $above, to which a link leads ($mode)"
        fi
        above=${above%/*}
    done
fi
if [ -e "$file" ]; then
    if [ ! -f "$file" ]; then
        finish refused "$file is no regular file"
    fi
    look "$file"
    owned "$file"
    case $mode in
    -rw-------*) ;;
    *)
        said=$(chmod 600 "$file" 2>&1)
        look_before=$mode
        look "$file"
        if wide; then
            finish failed "taking the right to write to $file from group and others: $said"
        fi
        if [ "$mode" != "$look_before" ]; then
            mend "set the mode of $file to 0600 ($look_before)"
        fi
        ;;
    esac
fi

outcome=already
if [ ! -e "$file" ] || ! known; then
    lead=
    # Of a last line that has its end, command substitution leaves nothing.
    if [ -s "$file" ] && [ -n "$(tail -c 1 "$file")" ]; then
        lead='
'
        mend "gave the last line of $file its end"
    fi
    said=$( (add) 2>&1) || finish failed "writing to $file: ${said:-it failed}"
    # A file system without room may have taken a part.
    known || finish failed "writing to $file: the key is not there afterwards"
    outcome=added
fi
# A directory that is made new may get a label that sshd must not read.
if command -v restorecon >/dev/null 2>&1; then
    said=$(restorecon -R "$dir" 2>&1) || mend "the SELinux labels of $dir could not be set: $said"
fi
finish key "$outcome"
