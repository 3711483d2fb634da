# Removes what a job left, unless it works. Renamed first: a directory that is half removed never looks like a job.
look
if [ "$state" = running ]; then
    tell
elif [ -d "$dir" ]; then
    mv "$dir" "$base/.gone.$job.$$" 2>/dev/null
    rm -rf "$base"/.gone.* 2>/dev/null
    if [ -e "$dir" ]; then
        finish failed "could not remove $dir"
    fi
fi
say end
