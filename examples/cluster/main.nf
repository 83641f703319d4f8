// nextflow run main.nf --cohort /data/cohort.csv --parts 16
// Paths inside cohort.csv must be those of the machines: nothing is staged but the list.

params.cohort = null
params.parts = 4
params.options = ''

process PART {
    cpus 2
    errorStrategy 'retry'
    maxRetries 2

    input:
    val i

    output:
    path "parts/part-${i}-of-${params.parts}.parquet"

    script:
    """
    coverax score --cohort ${params.cohort} --shard ${i}/${params.parts} \
        --threads ${task.cpus} ${params.options} -o parts
    """
}

process MERGE {
    publishDir '.', mode: 'copy'

    input:
    path parts

    output:
    path 'scores.parquet'

    script:
    """
    coverax merge ${parts} -o scores.parquet
    """
}

workflow {
    PART(Channel.of(1..params.parts as Integer)) | collect | MERGE
}
