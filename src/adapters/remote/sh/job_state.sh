look
tell
say end
