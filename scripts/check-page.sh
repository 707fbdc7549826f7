#!/usr/bin/env bash
# The browser side of the report page (stages/report/web): installs its tools, checks that the committed files are
# what the sources build, and runs its tests. Needs Node 20 or later, and Chromium ($CHROMIUM, or /usr/bin/chromium).
# With a page of the program as its argument, the clicks are tried on that page too.
set -euo pipefail
cd "$(dirname "$0")/../stages/report/web"
page=${1:+$(cd "$OLDPWD" && realpath "$1")}

npm ci --ignore-scripts
npx tsc
npm run check
npm test
if [ -n "$page" ]; then
  CLCC_PAGE=$page npm test -- browser
fi
