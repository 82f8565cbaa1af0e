#!/bin/sh
# Damages a restic repository in one known way, for demo, tests and README alike.
#
#   damage.sh RECIPE REPOSITORY [DONOR]
#   damage.sh list
#
# REPOSITORY is a local directory. RECIPE is a name of recipes.tsv: KIND-DAMAGE, or one of the whole-repository ones.
# DONOR is another repository, used by the swapping recipes when there is no second file of the kind.
#
# Which file: where it matters what a file holds, restic itself is asked, so RESTIC_PASSWORD has to be set for the
# recipes of tree packs and indexes, and for data packs when SNAPSHOT names a snapshot. Without SNAPSHOT a data pack is
# the largest pack of the repository, and a snapshot is the newest by time of its file. Runs in dash and busybox sh.
set -eu

fail() {
    echo "damage.sh: $1" >&2
    exit 64
}

# Largest file below $1, ties by name: the same in every run on the same repository.
largest() {
    find "$1" -type f -exec ls -ln {} + | awk '{ print $5, $NF }' | sort -k1,1nr -k2,2 | awk 'NR == 1 { print $2 }'
}

restic_cat() {
    restic -r "$repository" --no-cache --no-lock --quiet cat "$@"
}

# The full name of the snapshot that is to suffer.
snapshot_id() {
    if [ -n "${SNAPSHOT:-}" ]; then
        (cd "$repository/snapshots" && ls | grep "^$SNAPSHOT" | head -n 1)
    else
        ls -t "$repository/snapshots" | head -n 1
    fi
}

root_tree() {
    restic_cat snapshot "$(snapshot_id)" | tr ',' '\n' | sed -n 's/.*"tree": *"\([0-9a-f]*\)".*/\1/p'
}

# Prints "INDEX PACK OFFSET LENGTH" of the blob $1.
locate() {
    for index in "$repository"/index/*; do
        index=${index##*/}
        restic_cat index "$index" | tr -d ' \n' | tr '{' '\n' | awk -v blob="$1" -v index_id="$index" -F '"' '
            function number(name,  rest) { rest = $0; sub(".*\"" name "\":", "", rest); return rest + 0 }
            /"blobs":/ { pack = $4 }
            $4 == blob && /"type":/ { print index_id, pack, number("offset"), number("length"); exit }'
    done | head -n 1
}

# First blob of file content in the tree $1, depth first.
first_content() {
    text=$(restic_cat blob "$1" | tr -d ' \n')
    found=$(printf '%s' "$text" | tr '{' '\n' | sed -n 's/.*"content":\["\([0-9a-f]*\)".*/\1/p' | head -n 1)
    if [ -n "$found" ]; then
        echo "$found"
        return
    fi
    for subtree in $(printf '%s' "$text" | tr '{' '\n' | sed -n 's/.*"subtree":"\([0-9a-f]*\)".*/\1/p'); do
        found=$(first_content "$subtree")
        if [ -n "$found" ]; then
            echo "$found"
            return
        fi
    done
}

pack_file() {
    echo "$repository/data/$(echo "$1" | cut -c1-2)/$1"
}

# Sets: file (to damage), twin (another of the kind, may be empty), at (the byte that flips).
choose() {
    at=
    twin=
    case $1 in
        config) file=$repository/config ;;
        key) folder=keys ;;
        lock) folder=locks ;;
        snapshot) folder=snapshots ;;
        index | tree)
            tree=$(root_tree)
            [ -n "$tree" ] || fail "no readable snapshot in $repository, or RESTIC_PASSWORD does not open it"
            # shellcheck disable=SC2046 # four words are wanted
            set -- "$1" $(locate "$tree")
            [ $# -eq 5 ] || fail "the root directory of the snapshot is in no index of $repository"
            if [ "$1" = index ]; then
                file=$repository/index/$2
                twin=$(find "$repository/index" -type f ! -name "$2" | sort | head -n 1)
                # A repository of one backup has one index only.
                [ -n "$twin" ] || [ -z "$donor" ] || twin=$(find "$donor/index" -type f | sort | head -n 1)
            else
                file=$(pack_file "$3")
                at=$(($4 + $5 / 2))
                # The smallest other packs hold directories.
                twin=$(find "$repository/data" -type f ! -name "$3" -exec ls -ln {} + | awk '{ print $5, $NF }' | sort -k1,1n -k2,2 | awk 'NR == 1 { print $2 }')
            fi
            return
            ;;
        data)
            if [ -n "${SNAPSHOT:-}" ]; then
                blob=$(first_content "$(root_tree)")
                # shellcheck disable=SC2046 # four words are wanted
                set -- "$1" $(locate "$blob")
                [ $# -eq 5 ] || fail "the content of the snapshot is in no index of $repository"
                file=$(pack_file "$3")
                at=$(($4 + $5 / 2))
            else
                file=$(largest "$repository/data")
            fi
            twin=$(find "$repository/data" -type f ! -name "${file##*/}" -exec ls -ln {} + | awk '{ print $5, $NF }' | sort -k1,1nr -k2,2 | awk 'NR == 1 { print $2 }')
            return
            ;;
        *) fail "unknown kind of file: $1" ;;
    esac
    if [ -n "${folder:-}" ]; then
        if [ "$folder" = snapshots ]; then
            file=$repository/snapshots/$(snapshot_id)
        else
            file=$(find "$repository/$folder" -type f | sort | head -n 1)
        fi
        [ -f "$file" ] || fail "$repository has no file in $folder"
        twin=$(find "$repository/$folder" -type f ! -name "${file##*/}" | sort | head -n 1)
    fi
    if [ -z "$twin" ] && [ -n "$donor" ]; then
        if [ -n "${folder:-}" ]; then
            twin=$(find "$donor/$folder" -type f | sort | head -n 1)
        else
            twin=$donor/$1
        fi
    fi
}

size_of() {
    wc -c < "$1" | tr -d ' '
}

flip() {
    old=$(dd if="$1" bs=1 skip="$2" count=1 2> /dev/null | od -An -tu1 | tr -d ' ')
    # shellcheck disable=SC2059 # the octal escape is the point
    printf "\\$(printf '%03o' $((old ^ 1)))" | dd of="$1" bs=1 seek="$2" conv=notrunc 2> /dev/null
}

# Changes the bytes of a file and leaves its mode as it was.
spoil() {
    [ -f "$file" ] || fail "$file does not exist"
    chmod u+w "$file"
    size=$(size_of "$file")
    case $1 in
        truncate) dd if=/dev/null of="$file" bs=1 seek=$((size / 2)) 2> /dev/null ;;
        empty) : > "$file" ;;
        zero) dd if=/dev/zero of="$file" bs="$size" count=1 conv=notrunc 2> /dev/null ;;
        bitflip) flip "$file" "${at:-$((size / 2))}" ;;
        headerflip) flip "$file" $((size - 10)) ;;
        tailcut) dd if=/dev/null of="$file" bs=1 seek=$((size - 1)) 2> /dev/null ;;
        grow) printf 'more' >> "$file" ;;
        delete)
            rm -f "$file"
            echo "damaged: $file ($1)"
            return
            ;;
        swap)
            [ -f "$twin" ] || fail "no second file of this kind to swap with; name a DONOR repository"
            cp "$file" "$file.swap"
            cat "$twin" > "$file"
            case $twin in
                "$repository"/*)
                    chmod u+w "$twin"
                    cat "$file.swap" > "$twin"
                    chmod u-w "$twin"
                    ;;
            esac
            rm -f "$file.swap"
            ;;
        *) fail "unknown damage: $1" ;;
    esac
    chmod u-w "$file"
    echo "damaged: $file ($1)"
}

recipes() {
    for kind in config key snapshot index tree data lock; do
        for damage in truncate empty swap bitflip delete zero; do
            echo "$kind-$damage"
        done
    done
    for recipe in data-headerflip data-tailcut data-grow keys-gone indexes-gone packs-gone snapshots-gone stray outage outage-over; do
        echo "$recipe"
    done
}

recipe=${1:-}
if [ "$recipe" = list ]; then
    recipes
    exit 0
fi
[ $# -ge 2 ] || fail "usage: damage.sh RECIPE REPOSITORY [DONOR] | damage.sh list"
repository=${2%/}
donor=${3:-}
donor=${donor%/}
recipes | grep -qx -- "$recipe" || fail "unknown recipe: $recipe (damage.sh list prints them)"
[ "$recipe" = outage-over ] || [ -d "$repository/data" ] || fail "$repository is not a restic repository"

case $recipe in
    keys-gone) rm -f "$repository"/keys/* ;;
    indexes-gone) rm -f "$repository"/index/* ;;
    packs-gone) find "$repository/data" -type f -exec rm -f {} + ;;
    snapshots-gone) rm -f "$repository"/snapshots/* ;;
    stray)
        # What an interrupted upload or a careless person leaves behind.
        mkdir -p "$repository/data/zz"
        echo rubbish > "$repository/data/zz/upload-tmp-123"
        echo rubbish > "$repository/index/.nfs0001"
        echo rubbish > "$repository/snapshots/README"
        ;;
    outage)
        # The volume is there but empty, as when the wrong disk was mounted; everything is kept beside.
        mkdir "$repository/.gone"
        for part in config data index keys locks snapshots; do
            [ ! -e "$repository/$part" ] || mv "$repository/$part" "$repository/.gone/"
        done
        ;;
    outage-over)
        mv "$repository"/.gone/* "$repository/"
        rmdir "$repository/.gone"
        ;;
    *)
        choose "${recipe%-*}"
        spoil "${recipe#*-}"
        exit 0
        ;;
esac
echo "damaged: $repository ($recipe)"
