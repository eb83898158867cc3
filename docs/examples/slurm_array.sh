#!/bin/bash
# One task of a Slurm array per line of wells.txt (one FCS file per line):
#   sbatch --array=1-$(wc -l < wells.txt) slurm_array.sh study/model.cytomoe wells.txt results
#SBATCH --job-name=cytomoe
#SBATCH --cpus-per-task=2
#SBATCH --mem=2G
#SBATCH --time=00:15:00
set -euo pipefail

model=$1
list=$2
out=$3
well=$(sed -n "${SLURM_ARRAY_TASK_ID}p" "$list")

# plate1/A01.fcs is mapped into plate1_A01: wells of several plates may have the same file name.
names() { sed 's|^[./]*||; s|\.fcs$||; s|/|_|g'; }
name=$(names <<< "$well")
if [ "$(sort -u "$list" | names | grep -cxF -e "$name")" -gt 1 ]; then
    echo "$list: several wells would be mapped into $out/$name; rename one" >&2
    exit 1
fi

# A task that Slurm starts again finds its folder complete and has nothing to do.
if [ -f "$out/$name/run.json" ]; then
    exit 0
fi
export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK
cytomoe predict "$model" "$well" --out "$out/$name" --quiet
