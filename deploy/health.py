"""Exit with 0 when the server of this container answers, within five seconds."""

import os
import sys
import urllib.request

URL = f"http://127.0.0.1:{os.environ.get('PORT', '8000')}/favicon.ico"  # open to everybody, and small

if __name__ == "__main__":
    try:
        urllib.request.urlopen(URL, timeout=5).close()
    except OSError as error:
        sys.exit(f"{URL}: {error}")
